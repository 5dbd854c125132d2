"""What a model expects of its data: structural types, so that a model needs no task and a task no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor


class SequenceBatch(Protocol):
    """One batch, batch first, as `rnn_diag.tasks.Batch` or any object with these attributes."""

    @property
    def inputs(self) -> Tensor:
        """`[B, T]` integer tokens or `[B, T, F]` features."""

    @property
    def targets(self) -> Tensor:
        """`[B]`, `[B, T]` class indices or `[B, K]`, `[B, T, K]` values."""

    @property
    def lengths(self) -> Tensor | None:
        """`[B]` valid steps of each sequence, or None when all steps are valid."""

    @property
    def continues(self) -> bool:
        """True when row `b` goes on where row `b` of the previous batch ended."""


class Specification(Protocol):
    """What a data module says of itself under the name `spec`, as `rnn_diag.tasks.TaskSpec` does."""

    @property
    def target(self) -> str:
        """`"class"`, `"value"` or `"next_token"`."""

    @property
    def input_size(self) -> int:
        """Features per step, or the vocabulary's size when `tokens`."""

    @property
    def output_size(self) -> int:
        """Classes, values, or the vocabulary's size."""

    @property
    def tokens(self) -> bool:
        """Inputs are integer tokens."""

    @property
    def every_step(self) -> bool:
        """There is a target at every step."""

    @property
    def baseline(self) -> Mapping[str, float]:
        """Metric name to the value that a model which ignores its inputs reaches."""
