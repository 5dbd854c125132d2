"""A small LSTM that reads source text and says after every character whether a curly brace is open."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rnn_diag.diagnostics import module_trace
from rnn_diag.interventions.initialization import forget_gate_bias
from rnn_diag.lab.braces.text import BraceTokens, MarkedText, marked_text, planted
from rnn_diag.models import SequenceClassifier
from rnn_diag.nn import LSTM
from rnn_diag.tasks import Braces
from rnn_diag.tasks.vocabulary import Vocabulary
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True)
class Training:
    """How the reader learns.

    Attributes:
        steps: Optimiser steps.
        batch_size: Windows per step.
        learning_rate: Adam's largest, reached after a tenth of the steps, then falling to zero.
        planted_share: Share of the windows in which braces are planted.
        planted_rate: Share of their letters, digits and spaces that a brace replaces.
        sparsity: Of the readout: weight of the sum of its absolute weights in the loss. Few units then give the answer,
            and each of these has to be right at once.
    """

    steps: int
    batch_size: int
    learning_rate: float
    planted_share: float
    planted_rate: float
    sparsity: float


class BraceReader:
    """What it is, what it answers, and what its recurrent layer goes through.

    Args:
        task: Where the text and its vocabulary come from; two classes, open or not.
        units: Of the LSTM.
        seed: Of the initial weights; the process's generator is left alone.
    """

    def __init__(self, task: Braces, units: int, seed: int) -> None:
        self.vocabulary: Vocabulary = task.vocabulary
        self.braces = BraceTokens.of(task.vocabulary)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = SequenceClassifier(
                partial(LSTM, hidden_size=units),
                **SequenceClassifier.options_for(task.spec),
                embedding_size=16,
                initialization=[partial(forget_gate_bias, value=3.0)],
            )

    def open_after(self, text: MarkedText) -> Int[Tensor, "window time"]:
        """Return the truth: 1 where a brace is open after the character, 0 elsewhere."""
        return text.depth(self.braces).clamp(max=1)

    @torch.no_grad()
    def answers(self, text: MarkedText) -> Int[Tensor, "window time"]:
        """Return what the reader says."""
        said: Tensor = self.model(text.tokens).argmax(-1)
        return said

    @torch.no_grad()
    def trace(self, text: MarkedText) -> Trace:
        """Return what the LSTM goes through, time first."""
        return module_trace(self.model.recurrent, self.model.embedding(text.tokens).transpose(0, 1))

    def learn(self, task: Braces, how: Training, seed: int) -> list[float]:
        """Train; return the loss of every step in nats per character."""
        windows, generator = task.sequences("train"), torch.Generator().manual_seed(seed)
        with_planted = round(how.planted_share * how.batch_size)
        parameters = list(self.model.parameters())
        optimizer = torch.optim.Adam(parameters, lr=how.learning_rate)
        rising = max(1, how.steps // 10)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / rising, max(0.0, (how.steps - step) / (how.steps - rising + 1e-9)))
        )
        losses = []
        for _ in range(how.steps):
            chosen = torch.randint(len(windows), (how.batch_size,), generator=generator)
            text = marked_text(windows, chosen)
            sown = planted(text, self.vocabulary, how.planted_rate, generator)
            changed = (torch.arange(how.batch_size) < with_planted).unsqueeze(1)
            text = text._replace(tokens=torch.where(changed, sown.tokens, text.tokens))
            loss = self._loss(text) + how.sparsity * self.model.head.weight.abs().sum()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            scheduler.step()
            losses.append(float(loss.detach()))
        return losses

    def _loss(self, text: MarkedText) -> Float[Tensor, ""]:
        logits = self.model(text.tokens).flatten(0, 1)
        return nn.functional.cross_entropy(logits, self.open_after(text).flatten())
