"""How often gates are shut and open, and units past their slope: counts over calls and ranks."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from rnn_diag.cells.equations import Equations
from rnn_diag.diagnostics import (
    ForgetRate,
    GateSaturation,
    Share,
    UnitState,
    gate_saturation,
    relu_silence,
    tanh_saturation,
    unit_states,
)
from rnn_diag.diagnostics.carousel import summed_log_forget
from rnn_diag.diagnostics.numerics.precision import in_single
from rnn_diag.measurements.measure import GradientUnits, Measure
from rnn_diag.measurements.statistics import Statistic
from rnn_diag.pending import Pending
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

LOW, HIGH = 0.1, 0.9
"""Below and above them a gate is saturated."""

NO_SLOPE = 1e-3
"""Below it, or above one minus it, a gate's slope is 250 times less than at its middle: nothing moves it."""


@dataclass(frozen=True)
class GateCounts:
    """How often the units of one or several calls, on one or several ranks, were at their ends.

    Attributes:
        usual: Of the sigmoid gates, shut and open by the usual thresholds.
        strict: Of the sigmoid gates, where they have no slope: below 0.001 and above 0.999.
        tanh: Of the tanh blocks, and of the tanh of an LSTM's memory.
        relu: Of the ReLU units, those that are silent.
        activation: The mean activation of the sigmoid gates, as a share of the way open.
        rate: How fast the gate that keeps the state forgets; None without one.
    """

    usual: GateSaturation
    strict: GateSaturation
    tanh: Share
    relu: Share
    activation: Share
    rate: ForgetRate | None

    statistics: ClassVar[tuple[Statistic, ...]] = (
        Statistic(
            "<gate>/left",
            "share",
            "share of activations below `low` (shut), over units, valid steps and sequences",
            headline=True,
            chart="gates shut",
            vital="shut",
        ),
        Statistic(
            "<gate>/right",
            "share",
            "share of activations above `high` (open)",
            headline=True,
            chart="gates open",
            vital="open",
        ),
        Statistic(
            "<gate>/stuck_shut",
            "share",
            "share of units that were shut at 99 % of the valid steps or more",
            vital="stuck_shut",
        ),
        Statistic(
            "<gate>/stuck_open",
            "share",
            "share of units that were open at 99 % of the valid steps or more",
            vital="stuck_open",
        ),
        Statistic(
            "<tanh>/tanh_saturated",
            "share",
            "share of activations beyond `high` in magnitude",
            chart="tanh saturated",
            vital="tanh_saturated",
        ),
    )

    @classmethod
    def of(cls, trace: Trace, low: float = LOW, high: float = HIGH) -> GateCounts:
        """Return the counts of one call.

        Example:
            >>> from rnn_diag.testing.known import forgetting_trace
            >>> counts = GateCounts.of(forgetting_trace(0.95, steps=4))
            >>> counts.stuck_open["forget"], counts.fixed_open["forget"]
            (1.0, 0.0)
        """
        return cls.pending(trace, low, high).here()

    @classmethod
    def pending(cls, trace: Trace, low: float = LOW, high: float = HIGH) -> Pending[GateCounts]:
        """Ask the call's device for what they are made of."""
        usual, strict = gate_saturation(trace, low, high), gate_saturation(trace, NO_SLOPE, 1 - NO_SLOPE)
        sigmoid = {name: in_single(trace.gates[name]) for name in usual.gates}
        activation = Share.of(trace, sigmoid) if sigmoid else usual.shut
        ends = usual.shut, usual.open, strict.shut, strict.open
        others = tanh_saturation(trace, high), relu_silence(trace), activation
        return Pending.together([*map(_reached, (*ends, *others)), _forget_rate(trace)], cls._made_of)

    @classmethod
    def _made_of(
        cls, shut: Share, open_: Share, never: Share, always: Share, tanh: Share, relu: Share, *rest: Any
    ) -> GateCounts:
        return cls(GateSaturation(shut, open_), GateSaturation(never, always), tanh, relu, *rest)

    @property
    def gates(self) -> tuple[str, ...]:
        """The sigmoid gates."""
        return self.usual.gates

    @cached_property
    def shut(self) -> dict[str, float]:
        """Share of activations below `low`, by gate."""
        return _by_name(self.usual.shut)

    @cached_property
    def open(self) -> dict[str, float]:
        """Share of activations above `high`, by gate."""
        return _by_name(self.usual.open)

    @cached_property
    def stuck_shut(self) -> dict[str, float]:
        """Share of units that are shut at 99 % of all steps, by gate."""
        return self._share_of_units(self._usual_states, UnitState.STUCK_SHUT)

    @cached_property
    def stuck_open(self) -> dict[str, float]:
        """Share of units that are open at 99 % of all steps, by gate."""
        return self._share_of_units(self._usual_states, UnitState.STUCK_OPEN)

    @property
    def switching(self) -> dict[str, float]:
        """Share of units that are shut at some steps and open at others, by gate."""
        return self._share_of_units(self._usual_states, UnitState.SWITCHING)

    @property
    def fixed_shut(self) -> dict[str, float]:
        """Share of units that are shut without a slope, below 0.001, at 99 % of all steps, by gate."""
        return self._share_of_units(self._strict_states, UnitState.STUCK_SHUT)

    @property
    def fixed_open(self) -> dict[str, float]:
        """Share of units that are open without a slope, above 0.999, at 99 % of all steps, by gate."""
        return self._share_of_units(self._strict_states, UnitState.STUCK_OPEN)

    @property
    def flat(self) -> dict[str, float]:
        """Share of activations without a slope, at either end, by gate."""
        ends = zip(self.gates, (self.strict.shut.mean + self.strict.open.mean).tolist(), strict=True)
        return dict(ends)

    @cached_property
    def tanh_saturated(self) -> dict[str, float]:
        """Share of activations beyond `high` in magnitude, by tanh block."""
        return _by_name(self.tanh)

    @property
    def relu_dead(self) -> float:
        """Share of ReLU units that are silent at every step; NaN without any."""
        return float((self.relu.by_unit >= 1).double().mean()) if self.relu.blocks else math.nan

    @property
    def longest_memory(self) -> float:
        """Largest time constant among the units of the gate that keeps the state, in steps; NaN without one."""
        return float(self.rate.time_constants.max()) if self.rate is not None else math.nan

    @property
    def numbers(self) -> dict[str, float]:
        """The statistics by name."""
        by_name = {
            "left": self.shut,
            "right": self.open,
            "stuck_shut": self.stuck_shut,
            "stuck_open": self.stuck_open,
        }
        numbers = {f"{gate}/{name}": values[gate] for gate in self.gates for name, values in by_name.items()}
        return numbers | {f"{block}/tanh_saturated": share for block, share in self.tanh_saturated.items()}

    def __add__(self, other: GateCounts) -> GateCounts:
        return GateCounts(*(_sum(getattr(self, one.name), getattr(other, one.name)) for one in fields(self)))

    @cached_property
    def _usual_states(self) -> Tensor:
        return unit_states(self.usual)

    @cached_property
    def _strict_states(self) -> Tensor:
        return unit_states(self.strict)

    def _share_of_units(self, states: Tensor, wanted: UnitState) -> dict[str, float]:
        return dict(zip(self.gates, _means(states == wanted), strict=True))


@dataclass(frozen=True)
class MeasureGates(Measure):
    """Asks for `GateCounts`.

    Attributes:
        low: A gate below it is shut.
        high: A gate above it is open, and a tanh beyond it saturated.
    """

    low: float = LOW
    high: float = HIGH

    def has_numbers_of(self, equations: Equations) -> bool:
        """Return whether a block, or the memory that is shown through a tanh, has ends to saturate at."""
        return (equations.has_cell and equations.shows_tanh) or any(block.is_bounded for block in equations.blocks)

    def pending(self, trace: Trace, units: GradientUnits) -> Pending[GateCounts]:
        """Ask for the counts of one call."""
        return GateCounts.pending(trace, self.low, self.high)


def _forget_rate(trace: Trace) -> Pending[ForgetRate | None]:
    gate = trace.equations.memory_gate
    if gate is None or not trace.equations.block(gate).is_sigmoid:
        return Pending.known(None)
    sequences = trace.mask.shape[1]
    asked = summed_log_forget(trace), trace.mask.sum()
    return Pending(asked, lambda log_forget, steps: ForgetRate(log_forget, int(steps), sequences))


def _reached(share: Share) -> Pending[Share]:
    """Ask for a share as far as any of the sequences reaches: the longest of the batch may not be among them."""
    return Pending((share.unit_counts, share.step_counts, share.sequences), partial(_as_far_as_reached, share.blocks))


def _as_far_as_reached(blocks: tuple[str, ...], by_unit: Tensor, by_step: Tensor, sequences: Tensor) -> Share:
    reached = sequences > 0
    if bool(reached.all()):
        return Share(blocks, by_unit, by_step, sequences)
    return Share(blocks, by_unit, by_step[:, reached], sequences[reached])


def _by_name(share: Share) -> dict[str, float]:
    return dict(zip(share.blocks, share.mean.tolist(), strict=True))


def _means(holds: Bool[Tensor, "gate hidden"]) -> list[float]:
    shares: Float[Tensor, " gate"] = holds.to(torch.float64).mean(1)
    means: list[float] = shares.tolist()
    return means


def _sum(one: Any, other: Any) -> Any:
    return None if one is None or other is None else one + other
