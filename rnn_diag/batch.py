"""What tasks and models agree on: what a batch holds, and what a model must know of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from torch import Tensor

IGNORED_TARGET: Final = -100
"""A class target that does not count, neither in the loss nor in a metric: cross-entropy's own `ignore_index`."""


class Batch(NamedTuple):
    """One batch, batch first; models take any object with these attributes.

    Attributes:
        inputs: `[B, T]` integer tokens or `[B, T, F]` float features.
        targets: `[B]` or `[B, T]` class indices, `[B, K]` or `[B, T, K]` values, `[B, T]` next tokens. Class indices
            equal to `IGNORED_TARGET` (-100) do not count.
        lengths: `[B]` valid steps of each sequence, or None when all steps are valid.
        continues: True when row `b` continues row `b` of the previous batch, so that the state may be carried.
    """

    inputs: Tensor
    targets: Tensor
    lengths: Tensor | None = None
    continues: bool = False


@dataclass(frozen=True)
class TaskSpec:
    """What a model must know to fit a task; a data module's `spec`.

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
