"""What a task is: a Lightning data module that says what it feeds, what it asks for, and what guessing would score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import lightning.pytorch as pl
from torch import Tensor


class Batch(NamedTuple):
    """One training batch, batch first.

    Attributes:
        inputs: `[B, T]` integer tokens or `[B, T, F]` float features.
        targets: `[B]` or `[B, T]` class indices, `[B, K]` or `[B, T, K]` values, `[B, T]` next tokens.
        lengths: `[B]` valid steps of each sequence, or None when all steps are valid.
        continues: True when row `b` goes on where row `b` of the previous batch ended, so that the state may be carried.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None
    continues: bool = False


@dataclass(frozen=True)
class TaskSpec:
    """What a model must know to fit a task.

    Attributes:
        target: `"class"` (SequenceClassifier), `"value"` (SequenceRegressor) or `"next_token"` (LanguageModel).
        input_size: Features per step, or the vocabulary's size when `tokens`.
        output_size: Classes, values, or the vocabulary's size.
        tokens: Inputs are integer tokens `[B, T]`, not features `[B, T, F]`.
        every_step: There is a target at every step, not one per sequence.
        steps: The usual number of steps of a sequence.
        baseline: Metric name to the value that a model which ignores its inputs reaches (`accuracy`, `mse`,
            `bits_per_character`).
        baseline_meaning: One sentence: what that know-nothing model does.
    """

    target: str
    input_size: int
    output_size: int
    tokens: bool
    every_step: bool
    steps: int
    baseline: Mapping[str, float]
    baseline_meaning: str


class SequenceTask(pl.LightningDataModule):
    """A data module with a `spec`, available once `prepare_spec()` (or `setup`) has run."""

    @property
    def spec(self) -> TaskSpec:
        """Return what a model must know; reads the data when that is needed to know it."""
        raise NotImplementedError
