"""A recurrent language model, trained by truncated backpropagation through time with the state carried along."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torchmetrics import Metric, MetricCollection
from torchmetrics.text import Perplexity

from rnn_diag.batch import IGNORED_TARGET, Batch, TaskSpec
from rnn_diag.models.classifier import scored_classes
from rnn_diag.models.sequence_model import SequenceModel


class LanguageModel(SequenceModel):
    """Predict the next token at every step, from the state that the previous batch ended with.

    The state is carried, detached, where `batch.continues`; it starts from zero at the first batch of every epoch,
    wherever a batch does not continue, and where the number of rows changes. Training, validation and test each
    have a state of their own.

    Args:
        recurrent: As for `SequenceModel`.
        vocabulary_size: Tokens to read and to predict.
        **options: `embedding_size`, `optimizer`, `scheduler` and `initialization`, as for `SequenceModel`.
    """

    target = "next_token"
    loss_name = "cross_entropy"
    monitor = "val/bits_per_character"
    monitor_mode = "min"

    def __init__(self, recurrent: nn.Module | Callable[..., nn.Module], vocabulary_size: int, **options: Any) -> None:
        super().__init__(recurrent, vocabulary_size, vocabulary_size, tokens=True, every_step=True, **options)
        self.vocabulary_size = vocabulary_size
        self._carried: dict[str, Any] = {}

    @classmethod
    def options_for(cls, spec: TaskSpec) -> dict[str, Any]:
        """Return the vocabulary's size of a task's `spec`."""
        return {"vocabulary_size": super().options_for(spec)["output_size"]}

    def new_metrics(self, prefix: str) -> MetricCollection:
        """Return perplexity and bits per character, which share one running sum."""
        metrics: dict[str, Metric | MetricCollection] = {
            "perplexity": Perplexity(ignore_index=IGNORED_TARGET),
            "bits_per_character": BitsPerCharacter(ignore_index=IGNORED_TARGET),
        }
        return MetricCollection(metrics, prefix=prefix)

    def outputs(self, batch: Batch, stage: str) -> Tensor:
        """Return the logits of a batch; go on from the carried state and keep the new one."""
        carried = self._carried.get(stage) if batch.continues else None
        if carried is not None and _rows(carried) != len(batch.inputs):
            carried = None
        logits, state = self.advance(batch.inputs, batch.lengths, carried)
        self._carried[stage] = _detached(state)
        return logits

    def scored(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the logits `[1, N, vocabulary]` and tokens `[1, N]`, which are -100 where they do not count."""
        logits, tokens = scored_classes(outputs, batch)
        return logits[None], tokens[None]

    def count(self, targets: Tensor) -> int:
        """Return how many tokens are not -100."""
        return int((targets != IGNORED_TARGET).sum())

    def loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats per token."""
        return functional.cross_entropy(predictions[0], targets[0], ignore_index=IGNORED_TARGET)

    def on_train_epoch_start(self) -> None:
        """Forget the state of the previous epoch."""
        self._carried.pop("train", None)

    def on_validation_epoch_start(self) -> None:
        """Forget the state of the previous validation."""
        self._carried.pop("val", None)

    def on_test_epoch_start(self) -> None:
        """Forget the state of the previous test."""
        self._carried.pop("test", None)

    def on_fit_end(self) -> None:
        """Drop the carried states."""
        self._carried.clear()


class BitsPerCharacter(Perplexity):
    """Mean cross-entropy in bits per token: the base-2 logarithm of the perplexity."""

    total_log_probs: Tensor
    count: Tensor

    def compute(self) -> Tensor:
        """Return the bits per token of everything seen since the last reset."""
        return self.total_log_probs / self.count / math.log(2)


def _detached(state: Any) -> Any:
    return state.detach() if isinstance(state, Tensor) else tuple(_detached(part) for part in state)


def _rows(state: Any) -> int:
    """Return the number of sequences of a state `[layers, B, H]`, or of a tuple of such."""
    first: Tensor = state if isinstance(state, Tensor) else state[0]
    return first.shape[1]
