"""The vital signs of one recurrent layer: plain numbers that rules judge and a file can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from rnn_diag.doctor.tally import Tally
from rnn_diag.trace import Trace

NAN = math.nan


@dataclass(frozen=True)
class Vitals:
    """What was measured of one layer in one direction; NaN where there was nothing to measure.

    Attributes:
        layer: `<module path>.l<k>[_reverse]`.
        kind: The recurrence, such as `lstm`; empty where it is not known.
        coverage: How the layer was captured, with the reason.
        steps: Length of the longest sequence, `T`.
        sequences: How many were looked at.
        padding: Share of the batch that is padding and was left out by packing.
        padding_read: Share of the steps that repeat a sequence's last input, where these tails differ in length:
            padding that the recurrence did read.
        carried_state: Whether sequences started from states known to be carried over, detached, from an earlier chunk.
        has_gradients: Whether a backward pass reached the layer.
        on_graph: Whether a graph was built, so that something could have been learned through the layer.
        batches: Batches with a backward pass that were watched, none of which gave the layer a gradient if
            `has_gradients` is false; 0 where that is not known yet.
        non_finite: Where the first number that is not finite came up, or empty.
        fidelity: Relative error of the self-check.
        is_unfaithful: Whether that is more than rounding.
        horizon: Largest lag at which a single loss keeps 1 % of its influence, through `h` or `c`.
        furthest: Largest lag that could be seen.
        influence_at_furthest: What is left of a single loss there.
        influence_peak: The largest influence on `h` at any lag, relative to lag 0.
        log10_first_to_last: Gradient at the first step read over that at the last, the larger of those of `h` and `c`.
        slope: Growth of its logarithm per step back, in nats.
        exact_zero: Share of steps whose gradient is exactly zero.
        direct_share: Share of steps at which the loss, or a layer above, uses the output.
        read_share: Share of a sequence up to the last step whose output is used, in the order of reading.
        direct_norm: Mean norm of what enters through the output.
        other_direction: The same two of the opposite direction, as `read_share` and `direct_norm`; empty without one.
        reduced_precision: Whether the layer was computed in float16 or bfloat16.
        below_float16: Share of the numbers that enter the layer's backward pass, as scaled, which float16 would hold
            with less than full precision, or lose.
        amp_scaled: Whether a gradient scaler was at work.
        clip_share: Share of optimiser steps at which gradients were clipped.
        clip_factor: By what they were multiplied, as a median over those steps.
        clip_steps: Optimiser steps seen.
        clip_value: What they are clipped to.
        shut, open: Share of steps at which each gate is below 0.1, above 0.9.
        stuck_shut, stuck_open: Share of each gate's units that are below 0.001, above 0.999, at 99 % of all steps.
        switching: Share of each gate's units that are shut at some steps and open at others.
        flat: Share of steps at which each gate is below 0.001 or above 0.999.
        tanh_saturated: Share of steps at which `|tanh|` is above 0.9, by block.
        relu_dead: Share of ReLU units that are silent at every step; NaN without any.
        longest_memory: Largest time constant among the units of the gate that remembers, in steps.
        forget_bias: Mean of `b_ih + b_hh` in that gate.
        forget_bias_parts: Mean and spread of each of the two, as `ih`, `hh`, `ih_spread`, `hh_spread`.
        forget_bias_elsewhere: `forget_bias` of the same module's other layers and directions.
        spectral_radius, spectral_norm, transient_growth: Of a plain recurrence's matrix; powers that do not decay have
            no transient growth.
        predicted_horizon: The horizon that weights and gates alone let expect, in steps.
    """

    layer: str
    kind: str = ""
    coverage: str = ""
    steps: int = 0
    sequences: int = 0
    padding: float = 0.0
    padding_read: float = 0.0
    carried_state: bool = False
    has_gradients: bool = False
    on_graph: bool = False
    batches: int = 0
    non_finite: str = ""
    fidelity: float = NAN
    is_unfaithful: bool = False
    horizon: float = NAN
    furthest: float = NAN
    influence_at_furthest: float = NAN
    influence_peak: float = NAN
    log10_first_to_last: float = NAN
    slope: float = NAN
    exact_zero: float = NAN
    direct_share: float = NAN
    read_share: float = NAN
    direct_norm: float = NAN
    other_direction: dict[str, float] = field(default_factory=dict)
    reduced_precision: bool = False
    below_float16: float = NAN
    amp_scaled: bool = False
    clip_share: float = NAN
    clip_factor: float = NAN
    clip_steps: int = 0
    clip_value: float = NAN
    shut: dict[str, float] = field(default_factory=dict)
    open: dict[str, float] = field(default_factory=dict)
    stuck_shut: dict[str, float] = field(default_factory=dict)
    stuck_open: dict[str, float] = field(default_factory=dict)
    switching: dict[str, float] = field(default_factory=dict)
    flat: dict[str, float] = field(default_factory=dict)
    tanh_saturated: dict[str, float] = field(default_factory=dict)
    relu_dead: float = NAN
    longest_memory: float = NAN
    forget_bias: float = NAN
    forget_bias_parts: dict[str, float] = field(default_factory=dict)
    forget_bias_elsewhere: dict[str, float] = field(default_factory=dict)
    spectral_radius: float = NAN
    spectral_norm: float = NAN
    transient_growth: float = NAN
    predicted_horizon: float = NAN

    @classmethod
    def of(cls, tally: Tally) -> Vitals:
        """Return the numbers that sums and counts come to."""
        return cls(**tally.numbers())

    @property
    def horizon_share(self) -> float:
        """The horizon over the largest lag that could be seen; at 1 it may be longer."""
        return self.horizon / self.furthest if self.furthest > 0 else NAN

    @property
    def is_dense(self) -> bool:
        """Whether the loss, or a layer above, uses the output at half of the steps or more."""
        return self.direct_share >= 0.5

    @property
    def module(self) -> str:
        """The path of the module that the layer belongs to."""
        return self.layer.rpartition(".")[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by name, for JSON; those that are not finite are words there."""
        return {name: _worded(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Vitals:
        """Return what `to_dict` gave."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: _unworded(name, value) for name, value in values.items() if name in known})


def measure_vitals(trace: Trace) -> Vitals:
    """Return the vital signs of one layer, from what it went through.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> vitals = measure_vitals(linear_trace(0.5, steps=20))
        >>> vitals.horizon, vitals.furthest, vitals.spectral_radius
        (6.0, 19.0, 0.5)
    """
    return Vitals.of(Tally.of(trace))


def beside_each_other(vitals: Mapping[str, Vitals]) -> dict[str, Vitals]:
    """Return the layers' vital signs with what each must know of the others of its module."""
    return {layer: _beside(one, vitals) for layer, one in vitals.items()}


def _beside(one: Vitals, all_layers: Mapping[str, Vitals]) -> Vitals:
    name, ending = one.layer, "_reverse"
    opposite = all_layers.get(name.removesuffix(ending) if name.endswith(ending) else name + ending)
    siblings = [other for other in all_layers.values() if other.module == one.module and other.layer != one.layer]
    return replace(
        one,
        other_direction={}
        if opposite is None
        else {"read_share": opposite.read_share, "direct_norm": opposite.direct_norm},
        forget_bias_elsewhere={s.layer: s.forget_bias for s in siblings if not math.isnan(s.forget_bias)},
    )


def _worded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _worded(part) for name, part in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _unworded(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unworded(key, part) for key, part in value.items()}
    return float(value) if value in ("nan", "inf", "-inf") else value
