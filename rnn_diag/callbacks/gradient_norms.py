"""When and under which names the gradient over time is logged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from rnn_diag.callbacks.bands import Bands
from rnn_diag.callbacks.diagnostic import Diagnostic
from rnn_diag.callbacks.framework import GradientUnits
from rnn_diag.diagnostics import (
    Profile,
    cell_grad_norms,
    gradient_profile_from_the_end,
    hidden_grad_norms,
    log_gradient_slope,
)
from rnn_diag.diagnostics.reading_order import from_the_end, in_reading_order
from rnn_diag.reporting.heatmap import gradient_heat_map
from rnn_diag.reporting.history import History
from rnn_diag.reporting.tensorboard import Writer, write_ridge
from rnn_diag.tb.writer import write_gradients
from rnn_diag.trace import Trace

LOG10_OF_ZERO = -45.0
"""What stands for the logarithm of an exact zero: single precision ends there."""


@final
class GradientNorms(Diagnostic):
    """Logs how large the loss gradient is at every step of a recurrent layer, and how it changes on its way back.

    Gradients are total ones, in units of the loss as trained: the loss scale of mixed precision and the division by
    accumulated batches are taken out, and ranks count as parts of one batch. Norms are over units, then averaged over
    sequences. Logarithms are to the base 10, and -45 for an exact zero.

    Scalars, at every measured step that has gradients:

    - `gradient_norms/<layer>/log10_first_to_last`: norm at the first step read over that at the last; below 0: it
      vanishes.
    - `gradient_norms/<layer>/log10_max`: largest norm over steps, in loss per unit of hidden state.
    - `gradient_norms/<layer>/log10_median`: median norm over steps.
    - `gradient_norms/<layer>/slope_nats_per_step`: growth of the logarithm per step back; below 0 it vanishes.
    - `gradient_norms/<layer>/exact_zero`: share of steps and sequences whose norm is 0; many mean underflow, dead units
      or no loss there.
    - `gradient_norms/<layer>/non_finite`: share of steps and sequences whose norm is NaN or infinite.
    - `gradient_norms/<layer>/cell_log10_first_to_last`: the same of the memory cell; LSTMs only.
    - `gradient_norms/<layer>/cell_log10_max`: the same of the memory cell; LSTMs only.
    - `gradient_norms/<layer>/log10_at_cut`: norm at the first step read over the largest; near 0: as much again lies
      before this window, cut off; only in calls with a carried state, that is an initial one that is neither zero
      nor on the graph.
    - `gradient_norms/<layer>/fidelity`: relative error of the self-check; only where something can be checked.
    - `gradient_norms/<layer>/amp_overflow`: 1 in a step whose gradients overflowed while the loss scale was tried,
      which the optimiser skips: then only this, `exact_zero` and `non_finite` are logged; float16 only.

    To TensorBoard:

    - `gradient_norms/<layer>/log10_norm_plus_8_over_time`: histogram whose buckets are steps, a ridge for each
      measured step.
    - `gradient_norms/<layer>/over_training`: picture of training step by steps before the last one read.
    - `rnn_diag/<layer>/grad`: for the tab "RNN Diagnostics", the logarithm of the norm by step, the last one read on
      the right: median, 10th and 90th percentile over sequences (on each rank and call at most 64).

    Ranks are merged by sums and counts, exactly. Cost: one sweep over the chosen sequences, a tenth of a training step
    for 8 of 128; half a millisecond per layer for the ridge; some 30 ms for a picture, drawn ever more rarely.

    Args:
        every_n_steps: See `Diagnostic`.
        sequences: See `Diagnostic`.
        layers: See `Diagnostic`.
        max_overhead: See `Diagnostic`.
    """

    name: ClassVar[str] = "gradient_norms"
    needs_gradients: ClassVar[bool] = True
    needs_equations: ClassVar[bool] = False

    def __init__(
        self,
        every_n_steps: int = 50,
        sequences: int | None = 8,
        layers: str | list[str] | tuple[str, ...] = "*",
        max_overhead: float | None = 0.02,
    ) -> None:
        super().__init__(every_n_steps, sequences, layers, max_overhead)
        self.forget()

    def forget(self) -> None:
        """Drop the columns of earlier fits."""
        self._histories: dict[str, History] = {}

    @property
    def history(self) -> dict[str, Any]:
        """The columns of the heat maps."""
        return {layer: history.state for layer, history in self._histories.items()}

    def resume(self, history: dict[str, Any]) -> None:
        """Add columns to those of another run."""
        self._histories = {layer: History.of(state) for layer, state in history.items()}

    def measure(self, trace: Trace, units: GradientUnits) -> GradientSums:
        """Return the sums of one call."""
        norms = hidden_grad_norms(trace) * units.factor
        slopes = log_gradient_slope(trace, norms)
        valid = norms[trace.mask.to(norms.device)]
        by_lag = from_the_end(trace, norms)
        carried = (trace.initial_hidden != 0).any(-1) & (trace.lengths > 0) & (not trace.initial_requires_grad)
        return GradientSums(
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

    def scalars(self, layer: str, merged: GradientSums) -> Mapping[str, float]:
        """Return the layer's numbers."""
        numbers = {
            "exact_zero": merged.zeros / max(merged.count, 1),
            "non_finite": merged.non_finite / max(merged.count, 1),
        }
        if merged.scaled:
            numbers["amp_overflow"] = float(merged.overflowed)
        if merged.overflowed:
            return numbers
        by_lag = merged.hidden.by_lag.mean
        numbers |= {
            "log10_first_to_last": merged.hidden.log10_first_to_last,
            "log10_max": log10(by_lag.max().item()),
            "log10_median": log10(by_lag.median().item()),
            "slope_nats_per_step": merged.slope / merged.sloped if merged.sloped else math.nan,
        }
        if merged.cell is not None:
            numbers["cell_log10_first_to_last"] = merged.cell.log10_first_to_last
            numbers["cell_log10_max"] = log10(merged.cell.by_lag.mean.max().item())
        if merged.carried:
            numbers["log10_at_cut"] = log10(merged.first_of_carried) - log10(merged.peak_of_carried)
        if merged.fidelity is not None:
            numbers["fidelity"] = merged.fidelity
        return numbers

    def keep(self, layer: str, merged: GradientSums, step: int) -> None:
        """Add a column to the heat map."""
        by_lag = log10_of(merged.hidden.by_lag.mean)
        has_gradient = by_lag[~np.isneginf(by_lag)]
        reference = has_gradient[0] if len(has_gradient) else 0.0
        self._histories.setdefault(layer, History()).add(step, by_lag - reference)

    def write(self, layer: str, merged: GradientSums, writer: Writer, step: int) -> None:
        """Write the ridge, the first step read on the left."""
        profile = log10_of(merged.hidden.by_lag.mean)[::-1]
        write_ridge(writer, f"{self.name}/{layer}/log10_norm_plus_8_over_time", profile, step)
        write_gradients(writer, layer, step, merged.bands.percentiles[:, ::-1], cell=merged.recurrence)

    def draw(self, layer: str, merged: GradientSums) -> Mapping[str, Any]:
        """Return the heat map of the whole training so far."""
        history = self._histories[layer]
        return {"over_training": gradient_heat_map(layer, history.steps, history.columns)}


@dataclass(frozen=True)
class NormSums:
    """Sums of norms over sequences.

    Attributes:
        by_lag: By distance from each sequence's last step read.
        first, last: At each sequence's first and last step read.
    """

    by_lag: Profile
    first: float
    last: float

    @classmethod
    def of(cls, trace: Trace, norms: Tensor) -> NormSums:
        """Return the sums of one call."""
        by_lag = gradient_profile_from_the_end(trace, norms)
        first, last = in_reading_order(trace, norms)[0], from_the_end(trace, norms)[0]
        return cls(Profile(by_lag.total.cpu(), by_lag.count.cpu()), first.nansum().item(), last.nansum().item())

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
