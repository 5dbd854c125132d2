"""Lyapunov exponents: sums over sequences, calls and ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from rnn_diag.diagnostics import kaplan_yorke_dimension, lyapunov_exponents
from rnn_diag.measurements.measure import GradientUnits, Measure
from rnn_diag.measurements.statistics import Statistic
from rnn_diag.pending import Pending
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class ExponentSums:
    """Exponents of one or several calls, on one or several ranks.

    Attributes:
        total: Sum over sequences.
        square_of_first: Sum of the squares of the largest.
        count: Sequences.
    """

    total: Float[Tensor, " exponent"]
    square_of_first: float
    count: int

    statistics: ClassVar[tuple[Statistic, ...]] = (
        Statistic(
            "lambda_<i>",
            "nats per step",
            "the `i`-th largest exponent, averaged over sequences; `i` from 1 to `k`",
        ),
        Statistic("lambda_1_spread", "nats per step", "standard deviation of the largest over sequences"),
        Statistic(
            "kaplan_yorke", "dimensions", "dimension of the attractor that they imply; a lower bound where it is `k`"
        ),
    )

    @classmethod
    def of(cls, trace: Trace, k: int, warmup: int = 0) -> ExponentSums:
        """Return the sums over the sequences of one call; there are no more exponents than the state has units."""
        return cls.pending(trace, k, warmup).here()

    @classmethod
    def pending(cls, trace: Trace, k: int, warmup: int = 0) -> Pending[ExponentSums]:
        """Ask the call's device for what they are made of."""
        state_size = trace.hidden.shape[-1] + (0 if trace.cell is None else trace.cell.shape[-1])
        return Pending([lyapunov_exponents(trace, min(k, state_size), warmup)], cls._made_of)

    @classmethod
    def _made_of(cls, exponents: Tensor) -> ExponentSums:
        known = exponents[~exponents.isnan().any(1)]
        return cls(known.sum(0), known[:, 0].square().sum().item(), len(known))

    @property
    def mean(self) -> Float[Tensor, " exponent"]:
        """The mean over sequences; NaN without any."""
        return self.total / self.count if self.count else torch.full_like(self.total, torch.nan)

    @property
    def numbers(self) -> dict[str, float]:
        """The statistics by name."""
        mean = self.mean
        variance = self.square_of_first / max(self.count, 1) - mean[0].item() ** 2
        numbers = {f"lambda_{rank}": value for rank, value in enumerate(mean.tolist(), start=1)}
        numbers["lambda_1_spread"] = max(variance, 0.0) ** 0.5 if variance == variance else variance
        numbers["kaplan_yorke"] = kaplan_yorke_dimension(mean).item()
        return numbers

    def __add__(self, other: ExponentSums) -> ExponentSums:
        squares = self.square_of_first + other.square_of_first
        return ExponentSums(self.total + other.total, squares, self.count + other.count)


@dataclass(frozen=True)
class MeasureExponents(Measure):
    """Asks for `ExponentSums`.

    Attributes:
        k: How many exponents; no more than the state has units.
        warmup: Steps at the start of every sequence that are carried but not counted.
    """

    k: int
    warmup: int = 0

    def pending(self, trace: Trace, units: GradientUnits) -> Pending[ExponentSums]:
        """Ask for the sums of one call."""
        return ExponentSums.pending(trace, self.k, self.warmup)
