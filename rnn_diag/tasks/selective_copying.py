"""Selective copying: repeat the symbols among blanks, whose positions change from sequence to sequence."""

from __future__ import annotations

import math

import torch

from rnn_diag.arguments import whole
from rnn_diag.batch import IGNORED_TARGET, Batch, TaskSpec
from rnn_diag.tasks.generated import GeneratedTask


class SelectiveCopying(GeneratedTask):
    r"""Repeat `symbols` random symbols, in order, that stand among blanks at random positions.

    The tokens are `alphabet` symbols `0 … alphabet - 1`, a blank (`alphabet`) and a go sign (`alphabet + 1`). For
    `context` steps the symbols come at random positions, with blanks between them; then come as many go signs as there
    were symbols, during which they are to be repeated. Only these last steps count. A recurrence whose decay does not
    depend on the input cannot know which steps to keep: that is what makes it another task than copy memory.

    The baseline guesses the symbol: right once in `alphabet` times, at :math:`\ln \text{alphabet}` nats.

    Args:
        context: Steps in which the symbols come, at least as many as there are symbols.
        symbols: Symbols to remember.
        alphabet: Different symbols, at least 2.
        train_size: Training sequences.
        held_out_size: Validation sequences, and the same number of test sequences.
        batch_size: Sequences per batch and process.
        num_workers: Processes that fetch batches.
        seed: Determines the sequences and the order of training.

    Reference:
        Gu, Dao 2023, Mamba, section 4.1.1, https://arxiv.org/abs/2312.00752
    """

    def __init__(
        self,
        context: int = 50,
        symbols: int = 4,
        alphabet: int = 8,
        train_size: int = 20_000,
        held_out_size: int = 1_000,
        batch_size: int = 32,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(train_size, held_out_size, batch_size=batch_size, num_workers=num_workers, seed=seed)
        self.symbols = whole("symbols", symbols, 1)
        self.context = whole("context", context, self.symbols)
        self.alphabet = whole("alphabet", alphabet, 2)

    def describe(self) -> TaskSpec:
        """Work out the `spec`."""
        return TaskSpec(
            target="class",
            input_size=self.alphabet + 2,
            output_size=self.alphabet,
            tokens=True,
            every_step=True,
            steps=self.context + self.symbols,
            baseline={"accuracy": 1 / self.alphabet, "cross_entropy": math.log(self.alphabet)},
            baseline_meaning=f"Guesses one of the {self.alphabet} symbols at every step that counts.",
        )

    def draw(self, count: int, generator: torch.Generator) -> Batch:
        """Return that number of sequences."""
        shown = torch.randint(self.alphabet, (count, self.symbols), generator=generator)
        order = torch.rand(count, self.context, generator=generator).argsort(dim=1)
        inputs = torch.full((count, self.spec.steps), self.alphabet)
        inputs.scatter_(1, order[:, : self.symbols].sort(dim=1).values, shown)
        inputs[:, self.context :] = self.alphabet + 1
        targets = torch.full_like(inputs, IGNORED_TARGET)
        targets[:, self.context :] = shown
        return Batch(inputs, targets)
