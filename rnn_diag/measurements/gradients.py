"""The loss gradient over time: sums of its norms over calls and ranks, and what is read from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from rnn_diag.diagnostics import (
    Profile,
    cell_grad_norms,
    gradient_profile_from_the_end,
    gradient_span,
    hidden_grad_norms,
    log_gradient_slope,
)
from rnn_diag.diagnostics.lagged_gradients import ROUNDING
from rnn_diag.diagnostics.numerics.precision import in_double
from rnn_diag.diagnostics.numerics.reading_order import from_the_end, in_reading_order
from rnn_diag.measurements.measure import GradientUnits as GradientUnits
from rnn_diag.measurements.measure import Measure, Needs
from rnn_diag.measurements.spread import Bands
from rnn_diag.measurements.statistics import Statistic
from rnn_diag.pending import Pending
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

Part = TypeVar("Part")

LOG10_OF_ZERO = -45.0
"""Logged in place of the logarithm of an exact zero: single precision ends there."""


@dataclass(frozen=True)
class NormSums:
    """Sums of norms over sequences.

    Attributes:
        by_lag: By distance from each sequence's last step read, as far as any of them reaches.
        first, last: At each sequence's first and last step that has a gradient, in the order of reading; left out where
            the trace is only a piece of a sequence.
        first_step, last_step: Steps read before these, summed over the same sequences.
        sequences: How many have a gradient at two steps or more, or have one step only.
    """

    by_lag: Profile
    first: float
    last: float
    first_step: int
    last_step: int
    sequences: int

    @classmethod
    def of(cls, trace: Trace, norms: Float[Tensor, "time batch"]) -> NormSums:
        """Return the sums of one call, from norms on the CPU."""
        by_lag = gradient_profile_from_the_end(trace, norms)
        reached = by_lag.count > 0  # the longest sequences of the batch may not be among those that are looked at
        profile = Profile(by_lag.total[reached], by_lag.count[reached])
        span = gradient_span(trace, norms)
        counted = (span.last_step > span.first_step) | ((span.last_step == 0) & (trace.mask_with(norms).sum(0) == 1))
        counted = counted & (not trace.provenance.is_piece)
        return cls(
            profile,
            first=float(span.first_norm[counted].sum()),
            last=float(span.last_norm[counted].sum()),
            first_step=int(span.first_step[counted].sum()),
            last_step=int(span.last_step[counted].sum()),
            sequences=int(counted.sum()),
        )

    @property
    def log10_first_to_last(self) -> float:
        """Logarithm of the ratio; NaN where no two steps of a sequence have a gradient."""
        return log10(self.first) - log10(self.last) if self.sequences else math.nan

    @property
    def log10_max(self) -> float:
        """Logarithm of the largest mean over sequences."""
        return log10(self.by_lag.mean.max().item())

    @property
    def log10_median(self) -> float:
        """Median over steps of the logarithm of the mean over sequences: of an even number, the mean of the two."""
        means = sorted(self.by_lag.mean.tolist())
        return (log10(means[(len(means) - 1) // 2]) + log10(means[len(means) // 2])) / 2 if means else math.nan

    def __add__(self, other: NormSums) -> NormSums:
        return NormSums(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


@dataclass(frozen=True)
class GradientSums:
    """Gradients of one or several calls of a layer, on one or several ranks.

    Attributes:
        recurrence: Its name; empty where the equations are not known.
        bands: Norms of `∂L/∂h_t` by distance from each sequence's last step read.
        hidden, cell: Sums of norms of `∂L/∂h_t`, and of `∂L/∂c_t` where there is one.
        slope: Sum of the sequences' slopes.
        sloped: Sequences that have one.
        zeros, non_finite: Steps times sequences with such a norm; zero only where that of the memory is, too.
        count: Valid steps times sequences.
        sequences, silent: Sequences, and those of them that get no gradient at any step.
        elsewhere: Calls in which only sequences that were not followed have a gradient.
        carried: Sequences that started from a state other than zero, through which no gradient flows on.
        first_of_carried: Sum of their norms at their first steps.
        peak_of_carried: Sum of their largest norms.
        direct: What entered through the output; None where the equations are not known.
        scaled: Whether the gradients were scaled by a float16 scaler.
        fidelity: The largest relative error, or None where nothing could be checked.
        rounding: The largest difference that rounding makes; None where it cannot be told from an error.
        precision: What it is due to.
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
    sequences: int
    silent: int
    elsewhere: int
    carried: int
    first_of_carried: float
    peak_of_carried: float
    direct: DirectSums | None
    scaled: bool
    fidelity: float | None
    rounding: float | None
    precision: str

    statistics: ClassVar[tuple[Statistic, ...]] = (
        Statistic(
            "log10_first_to_last",
            "log10",
            "norm at the first step that has a gradient over that at the last; below 0: it vanishes",
            headline=True,
            chart="gradient: first step over last",
            vital="log10_first_to_last",
        ),
        Statistic("first_step", "steps", "steps read before that first step, a mean over sequences"),
        Statistic("last_step", "steps", "steps read before that last step, a mean over sequences"),
        Statistic(
            "log10_max",
            "log10",
            "largest norm over steps, in loss per unit of hidden state",
            headline=True,
            chart="gradient: largest norm",
        ),
        Statistic("log10_median", "log10", "median norm over steps"),
        Statistic(
            "slope_nats_per_step",
            "nats per step",
            "growth of the logarithm per step back; below 0 it vanishes",
            vital="slope",
        ),
        Statistic(
            "exact_zero",
            "share",
            "share of steps and sequences whose norm is 0, that of a memory cell included; many mean underflow, dead "
            "units or no loss there",
            vital="exact_zero",
        ),
        Statistic("non_finite", "share", "share of steps and sequences whose norm is NaN or infinite", headline=True),
        Statistic(
            "cell_log10_first_to_last",
            "log10",
            "the same ratio of the memory cell; LSTMs only",
            headline=True,
            chart="gradient: first step over last",
            vital="cell_log10_first_to_last",
        ),
        Statistic(
            "cell_log10_max",
            "log10",
            "largest norm of the memory cell's gradient; LSTMs only",
            chart="gradient: largest norm",
        ),
        Statistic(
            "log10_at_cut",
            "log10",
            "norm at the first step read over the largest; near 0: as much again lies before this window, cut off; "
            "only in calls with a carried state, that is an initial one that is neither zero nor on the graph",
        ),
        Statistic(
            "fidelity",
            "relative error",
            "relative error of the self-check; only where something can be checked",
            headline=True,
        ),
        Statistic(
            "rounding",
            "relative difference",
            "what the kernel's rounding (TF32, half precision) makes of the gradient; only where a check in double "
            "precision could tell it from a mistake",
            vital="rounding",
        ),
        Statistic(
            "amp_overflow",
            "0 or 1",
            "1 in a step whose gradients overflowed while the loss scale was tried, which the optimiser skips: then "
            "only this, `exact_zero` and `non_finite` are logged; float16 only",
        ),
    )

    @classmethod
    def of(cls, trace: Trace, units: GradientUnits) -> GradientSums:
        """Return the sums of one call."""
        return cls.pending(trace, units).here()

    @classmethod
    def pending(cls, trace: Trace, units: GradientUnits) -> Pending[GradientSums]:
        """Ask the call's device for what they are made of."""
        asked = (
            (trace.initial_hidden != 0).flatten(1).any(-1),
            hidden_grad_norms(trace),
            direct_norms(trace) if trace.has_equations else None,
            None if trace.cell_grad is None else cell_grad_norms(trace),
            torch.as_tensor(trace.source.unfollowed_have_gradient),
        )
        return Pending(asked, partial(cls._made_of, trace, units))

    @classmethod
    def _made_of(
        cls,
        trace: Trace,
        units: GradientUnits,
        starts: Tensor,
        norms: Tensor,
        direct: Tensor | None,
        cell_norms: Tensor | None,
        elsewhere: Tensor,
    ) -> GradientSums:
        known, norms = trace.has_equations, norms * units.factor
        direct, cell_norms = (None if one is None else one * units.factor for one in (direct, cell_norms))
        is_zero = norms == 0 if cell_norms is None else (norms == 0) & (cell_norms == 0)
        slopes = log_gradient_slope(trace, norms)
        mask = trace.mask_with(norms)
        lengths = mask.sum(0)
        valid = norms[mask]
        by_lag = from_the_end(trace, norms)
        carried = starts & (lengths > 0) & (not trace.provenance.state_on_graph)
        return cls(
            recurrence=trace.equations.name if known else "",
            bands=Bands.of(by_lag, torch.arange(len(by_lag)).unsqueeze(1) < lengths),
            hidden=NormSums.of(trace, norms),
            cell=None if cell_norms is None else NormSums.of(trace, cell_norms),
            slope=float(slopes.nansum()),
            sloped=int(slopes.isfinite().sum()),
            zeros=int(is_zero[mask].sum()),
            non_finite=int((~valid.isfinite()).sum()),
            count=valid.numel(),
            sequences=int((lengths > 0).sum()),
            silent=int(((is_zero | ~mask).all(0) & mask.any(0)).sum()),
            elsewhere=int(elsewhere),
            carried=int(carried.sum()),
            first_of_carried=in_reading_order(trace, norms)[0][carried].sum().item(),
            peak_of_carried=norms.nan_to_num(nan=0.0)[:, carried].amax(0).sum().item(),
            direct=None if direct is None else DirectSums.of(trace, direct, norms),
            scaled=units.scaled,
            fidelity=trace.fidelity,
            rounding=trace.rounding,
            precision=trace.precision,
        )

    @property
    def overflowed(self) -> bool:
        """Whether the step belongs to the search for a loss scale."""
        return self.scaled and self.non_finite > 0

    @property
    def exact_zero(self) -> float:
        """Share of steps and sequences whose norm is 0, that of the memory cell included."""
        return self.zeros / max(self.count, 1)

    @property
    def mean_slope(self) -> float:
        """Mean over sequences, in nats per step back."""
        return self.slope / self.sloped if self.sloped else math.nan

    @property
    def numbers(self) -> dict[str, float]:
        """The statistics by name, those that there is something to say of."""
        numbers = {"exact_zero": self.exact_zero, "non_finite": self.non_finite / max(self.count, 1)}
        if self.scaled:
            numbers["amp_overflow"] = float(self.overflowed)
        if self.overflowed:
            return numbers
        hidden, cell = self.hidden, self.cell
        numbers |= {
            "log10_first_to_last": hidden.log10_first_to_last,
            "log10_max": hidden.log10_max,
            "log10_median": hidden.log10_median,
            "slope_nats_per_step": self.mean_slope,
        }
        if hidden.sequences:
            numbers["first_step"] = hidden.first_step / hidden.sequences
            numbers["last_step"] = hidden.last_step / hidden.sequences
        if cell is not None:
            numbers["cell_log10_first_to_last"] = cell.log10_first_to_last
            numbers["cell_log10_max"] = cell.log10_max
        if self.carried:
            numbers["log10_at_cut"] = log10(self.first_of_carried) - log10(self.peak_of_carried)
        if self.fidelity is not None:
            numbers["fidelity"] = self.fidelity
        if self.rounding is not None:
            numbers["rounding"] = self.rounding
        return numbers

    def __add__(self, other: GradientSums) -> GradientSums:
        summed = {
            one.name: getattr(self, one.name) + getattr(other, one.name)
            for one in fields(self)
            if one.name not in ("recurrence", "cell", "direct", "scaled", "fidelity", "rounding", "precision")
        }
        return replace(
            self,
            **summed,
            cell=together(self.cell, other.cell),
            direct=together(self.direct, other.direct),
            fidelity=_largest(self.fidelity, other.fidelity),
            rounding=_largest(self.rounding, other.rounding),
            precision=self.precision or other.precision,
        )


def _largest(*values: float | None) -> float | None:
    return max((value for value in values if value is not None), default=None)


@dataclass(frozen=True)
class DirectSums:
    """What entered a layer through its output: from the loss, or from the layers above.

    Attributes:
        used: Steps times sequences whose output is used.
        count: Valid steps times sequences.
        read: Sum over sequences of the share up to the last step whose output is used, in the order of reading.
        sequences: Their number.
        norm: Sum of the norms of what entered.
    """

    used: int
    count: int
    read: float
    sequences: int
    norm: float

    @classmethod
    def of(cls, trace: Trace, direct: Float[Tensor, "time batch"], norms: Float[Tensor, "time batch"]) -> DirectSums:
        """Return the sums of one call, from the norms of what entered and of the total, on the CPU."""
        mask = trace.mask_with(direct)
        used = is_beyond_rounding(direct, norms) & mask
        positions = torch.arange(1, len(used) + 1).unsqueeze(1)
        furthest = (in_reading_order(trace, used.unsqueeze(-1)).squeeze(-1) * positions).amax(0)
        lengths = mask.sum(0)
        return cls(
            used=int(used.sum()),
            count=int(mask.sum()),
            read=float((furthest / lengths.clamp(min=1)).sum()),
            sequences=int((lengths > 0).sum()),
            norm=float(direct[mask].sum()),
        )

    @property
    def share(self) -> float:
        """Share of steps whose output is used."""
        return self.used / max(self.count, 1)

    @property
    def read_share(self) -> float:
        """Share of a sequence up to the last step whose output is used; a mean over sequences."""
        return self.read / max(self.sequences, 1)

    @property
    def mean_norm(self) -> float:
        """Mean norm of what entered, over steps and sequences."""
        return self.norm / max(self.count, 1)

    def __add__(self, other: DirectSums) -> DirectSums:
        return DirectSums(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))


@dataclass(frozen=True)
class MeasureGradients(Measure):
    """Asks for `GradientSums`; a cell without equations has them, too."""

    needs: ClassVar[Needs] = Needs(gradients=True, equations=False)

    def pending(self, trace: Trace, units: GradientUnits) -> Pending[GradientSums]:
        """Ask for the sums of one call."""
        return GradientSums.pending(trace, units)


def is_used(trace: Trace) -> Bool[Tensor, "time batch"]:
    """Return at which valid steps the output is used: where a gradient beyond rounding enters directly."""
    direct = direct_norms(trace)
    return is_beyond_rounding(direct, hidden_grad_norms(trace)) & trace.mask_with(direct)


def is_beyond_rounding(
    direct: Float[Tensor, "time batch"], total: Float[Tensor, "time batch"]
) -> Bool[Tensor, "time batch"]:
    """Return where what enters directly is more than the rounding of the total gradient."""
    beyond: Tensor = direct > ROUNDING * total.nan_to_num()
    return beyond


def direct_norms(trace: Trace) -> Float[Tensor, "time batch"]:
    """Return the norms of what enters a layer directly."""
    norms: Tensor = torch.linalg.vector_norm(in_double(trace.hidden_grad_direct), dim=-1)
    return norms


def log10(value: float) -> float:
    """Return a logarithm that an exact zero has too; NaN and infinity keep theirs."""
    return max(math.log10(value), LOG10_OF_ZERO) if value > 0 else LOG10_OF_ZERO if value == 0 else math.nan


def log10_of(values: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the logarithms for a picture: minus infinity for an exact zero."""
    return torch.log10(values).numpy()


def together(one: Part | None, other: Part | None) -> Part | None:
    """Return the sum of two parts, either of which may be missing."""
    if one is None or other is None:
        return one if other is None else other
    total: Part = one + other  # type: ignore[operator]
    return total
