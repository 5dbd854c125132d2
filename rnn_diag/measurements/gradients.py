"""What the gradients of one or several calls of a layer, on one or several ranks, come to."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rnn_diag.diagnostics import (
    Profile,
    cell_grad_norms,
    gradient_profile_from_the_end,
    hidden_grad_norms,
    log_gradient_slope,
)
from rnn_diag.diagnostics.numerics.reading_order import from_the_end, in_reading_order
from rnn_diag.measurements.spread import Bands
from rnn_diag.trace import Trace

LOG10_OF_ZERO = -45.0
"""What stands for the logarithm of an exact zero: single precision ends there."""


class GradientUnits(NamedTuple):
    """What gradients are measured in during a backward pass.

    Attributes:
        factor: What they must be multiplied by to be those of the loss as trained.
        scaled: Whether a gradient scaler is at work, which tries scales until gradients overflow, and skips such steps.
    """

    factor: float
    scaled: bool


@dataclass(frozen=True)
class NormSums:
    """Sums of norms over sequences.

    Attributes:
        by_lag: By distance from each sequence's last step read, as far as any of them goes.
        first, last: At each sequence's first and last step read.
    """

    by_lag: Profile
    first: float
    last: float

    @classmethod
    def of(cls, trace: Trace, norms: Tensor) -> NormSums:
        """Return the sums of one call."""
        by_lag = gradient_profile_from_the_end(trace, norms)
        reached = by_lag.count > 0  # the longest sequences of the batch may not be among those that are looked at
        first, last = in_reading_order(trace, norms)[0], from_the_end(trace, norms)[0]
        profile = Profile(by_lag.total[reached].cpu(), by_lag.count[reached].cpu())
        return cls(profile, first.nansum().item(), last.nansum().item())

    @property
    def log10_first_to_last(self) -> float:
        """Logarithm of the ratio; NaN where the last step has no gradient."""
        return log10(self.first) - log10(self.last) if self.last else math.nan

    def __add__(self, other: NormSums) -> NormSums:
        return NormSums(self.by_lag + other.by_lag, self.first + other.first, self.last + other.last)


@dataclass(frozen=True)
class GradientSums:
    """What one or several calls of a layer, on one or several ranks, come to.

    Attributes:
        recurrence: What it is.
        bands: Norms of `∂L/∂h_t` by distance from each sequence's last step read.
        hidden, cell: Sums of norms of `∂L/∂h_t`, and of `∂L/∂c_t` where there is one.
        slope: Sum of the sequences' slopes.
        sloped: Sequences that have one.
        zeros, non_finite: Steps times sequences with such a norm.
        count: Valid steps times sequences.
        carried: Sequences that started from a state other than zero, through which no gradient goes on.
        first_of_carried: Sum of their norms at their first steps.
        peak_of_carried: Sum of their largest norms.
        scaled: Whether the gradients were scaled by a float16 scaler.
        fidelity: The largest relative error, or None where nothing could be checked.
    """

    recurrence: str
    bands: Bands
    hidden: NormSums
    cell: NormSums | None
    slope: float
    sloped: int
    zeros: int
    non_finite: int
    count: int
    carried: int
    first_of_carried: float
    peak_of_carried: float
    scaled: bool
    fidelity: float | None

    @classmethod
    def of(cls, trace: Trace, units: GradientUnits) -> GradientSums:
        """Return the sums of one call."""
        norms = hidden_grad_norms(trace) * units.factor
        slopes = log_gradient_slope(trace, norms)
        valid = norms[trace.mask.to(norms.device)]
        by_lag = from_the_end(trace, norms)
        carried = (trace.initial_hidden != 0).any(-1) & (trace.lengths > 0) & (not trace.initial_requires_grad)
        return cls(
            carried=int(carried.sum()),
            first_of_carried=in_reading_order(trace, norms)[0][carried].sum().item(),
            peak_of_carried=norms.nan_to_num(nan=0.0)[:, carried].amax(0).sum().item(),
            recurrence="" if trace.equations is None else trace.equations.name,
            bands=Bands.of(by_lag, torch.arange(len(by_lag), device=by_lag.device).unsqueeze(1) < trace.lengths),
            hidden=NormSums.of(trace, norms),
            cell=None if trace.cell_grad is None else NormSums.of(trace, cell_grad_norms(trace) * units.factor),
            slope=float(slopes.nansum()),
            sloped=int(slopes.isfinite().sum()),
            zeros=int((valid == 0).sum()),
            non_finite=int((~valid.isfinite()).sum()),
            count=valid.numel(),
            scaled=units.scaled,
            fidelity=trace.fidelity,
        )

    @property
    def overflowed(self) -> bool:
        """Whether the step belongs to the search for a loss scale."""
        return self.scaled and self.non_finite > 0

    def __add__(self, other: GradientSums) -> GradientSums:
        summed = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in fields(self)
            if field.name not in ("recurrence", "cell", "scaled", "fidelity")
        }
        known = [one.fidelity for one in (self, other) if one.fidelity is not None]
        cell = self.cell if other.cell is None or self.cell is None else self.cell + other.cell
        return replace(self, **summed, cell=cell, fidelity=max(known, default=None))


def log10(value: float) -> float:
    """Return a logarithm that an exact zero has too; NaN and infinity keep theirs."""
    return max(math.log10(value), LOG10_OF_ZERO) if value > 0 else LOG10_OF_ZERO if value == 0 else math.nan


def log10_of(values: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the logarithms for a picture: minus infinity for an exact zero."""
    return torch.log10(values).numpy()
