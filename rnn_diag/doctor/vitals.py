"""The vital signs of one recurrent layer: plain numbers that rules judge and a file can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from rnn_diag.coverage import Coverage, Status
from rnn_diag.doctor.run_facts import RunFacts
from rnn_diag.measurements.call import CallFacts, FirstNonFinite
from rnn_diag.measurements.gates import GateCounts
from rnn_diag.measurements.gradients import GradientSums
from rnn_diag.measurements.influence import THRESHOLD, Influence
from rnn_diag.measurements.layer import LayerMeasurements
from rnn_diag.measurements.recurrence import Recurrence
from rnn_diag.measurements.weights import BlockSpectrum, WeightNumbers

NAN = math.nan


@dataclass(frozen=True)
class Vitals:
    """What was measured of one layer in one direction; NaN where there was nothing to measure.

    Attributes:
        layer: `<module path>.l<k>[_reverse]`.
        kind: The recurrence, such as `lstm`; empty where its equations are not known.
        is_gated, has_cell, has_matrix, memory_gate, harmful: See `rnn_diag.measurements.recurrence.Recurrence`.
        coverage: How the layer was captured; None where that is not known.
        steps: Length of the longest sequence, `T`.
        sequences: How many were looked at.
        is_part: Whether these are only some of a batch's.
        calls: In how many calls.
        state_changed, in_pieces: See `rnn_diag.measurements.call.CallFacts`.
        input_scale: Root mean square of the layer's inputs.
        from_zero: Whether all calls started from zero.
        padding: Share of the batch that is padding and was left out by packing.
        padding_read: Share of the steps that repeat a sequence's last input, where these tails differ in length:
            padding that the recurrence did read.
        padding_in_front: Share of the steps that repeat a sequence's first input, where these heads differ in length.
        carried_state: Whether sequences started from states known to be carried over, detached, from an earlier chunk.
        has_gradients: Whether a backward pass reached the layer.
        on_graph: Whether a graph was built, so that something could have been learned through the layer.
        is_frozen: Whether none of its weights needs a gradient.
        in_no_optimizer: Whether its weights need gradients and no optimiser changes them.
        batches: Batches with a backward pass that were watched, none of which gave the layer a gradient if
            `has_gradients` is false; 0 where that is not known yet.
        non_finite: The first number that is not finite; None where all are.
        fidelity: Relative error of the self-check.
        is_unfaithful: Whether that is more than rounding.
        rounding, precision: How far the gradient that the training got is off by rounding alone, and by what.
        horizon: The memory horizon, see `rnn_diag.measurements.influence.Influence`; in steps.
        furthest: Median of the largest lags that could be seen.
        influence_at_furthest: What is left of a single loss at the largest lag of all.
        influence_peak: The largest influence on `h` at any lag, relative to lag 0.
        log10_first_to_last: Gradient at the first step that has one over that at the last, the larger of those of `h`
            and `c`.
        cell_log10_first_to_last: That of `c`.
        first_step, last_step: Steps read before these two.
        slope: Growth of its logarithm per step back, in nats.
        exact_zero: Share of steps whose gradient is exactly zero.
        zero_batches: Measured batches in a row in which all of them were.
        silent_sequences: Sequences that get no gradient at any step.
        only_others: Whether only sequences that were not looked at have a gradient.
        direct_share: Share of steps at which the loss, or a layer above, uses the output.
        read_share: Share of a sequence up to the last step whose output is used, in the order of reading.
        direct_norm: Mean norm of what enters through the output.
        other_direction: The same two of the opposite direction, as `read_share` and `direct_norm`; empty without one.
        reduced_precision: Whether the layer was computed in float16 or bfloat16.
        below_float16: Share of the numbers that enter the layer's backward pass, as scaled, which float16 would hold
            with less than full precision, or lose.
        amp_scaled: Whether a gradient scaler was at work.
        clip_share, clip_factor, clip_steps, clip_value: See `rnn_diag.doctor.run_facts.Clipping`.
        shut, open: Share of steps at which each gate is below 0.1, above 0.9.
        stuck_shut, stuck_open: Share of each gate's units for which that is so at 99 % of all steps.
        fixed_shut, fixed_open: Share of each gate's units that are below 0.001, above 0.999, at 99 % of all steps.
        switching: Share of each gate's units that are shut at some steps and open at others.
        flat: Share of steps at which each gate is below 0.001 or above 0.999.
        tanh_saturated: Share of steps at which `|tanh|` is above 0.9, by block.
        relu_dead: Share of ReLU units that are silent at every step; NaN without any.
        longest_memory: Largest time constant among the units of the gate that remembers, in steps.
        forget_bias: Mean of `b_ih + b_hh` in that gate.
        forget_bias_parts: Mean and spread of each of the two, as `ih`, `hh`, `ih_spread`, `hh_spread`.
        forget_bias_elsewhere: `forget_bias` of the same module's other layers and directions.
        matrix: The block of a plain recurrence, whose recurrent matrix is judged; empty for gated ones.
        spectral_radius, spectral_norm, transient_growth: Of that matrix; powers that do not decay have no transient
            growth.
        predicted_horizon: The horizon that is predicted from weights and gates alone, in steps.
    """

    layer: str
    kind: str = ""
    is_gated: bool = False
    has_cell: bool = False
    has_matrix: bool = True
    memory_gate: str = ""
    harmful: dict[str, str] = field(default_factory=dict)
    coverage: Coverage | None = None
    steps: int = 0
    sequences: int = 0
    is_part: bool = False
    calls: int = 0
    state_changed: bool = False
    in_pieces: bool = False
    input_scale: float = NAN
    from_zero: bool = False
    padding: float = 0.0
    padding_read: float = 0.0
    padding_in_front: float = 0.0
    carried_state: bool = False
    has_gradients: bool = False
    on_graph: bool = False
    is_frozen: bool = False
    in_no_optimizer: bool = False
    batches: int = 0
    non_finite: FirstNonFinite | None = None
    fidelity: float = NAN
    is_unfaithful: bool = False
    rounding: float = NAN
    precision: str = ""
    horizon: float = NAN
    furthest: float = NAN
    influence_at_furthest: float = NAN
    influence_peak: float = NAN
    log10_first_to_last: float = NAN
    cell_log10_first_to_last: float = NAN
    first_step: float = NAN
    last_step: float = NAN
    slope: float = NAN
    exact_zero: float = NAN
    zero_batches: int = 0
    silent_sequences: int = 0
    only_others: bool = False
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
    fixed_shut: dict[str, float] = field(default_factory=dict)
    fixed_open: dict[str, float] = field(default_factory=dict)
    switching: dict[str, float] = field(default_factory=dict)
    flat: dict[str, float] = field(default_factory=dict)
    tanh_saturated: dict[str, float] = field(default_factory=dict)
    relu_dead: float = NAN
    longest_memory: float = NAN
    forget_bias: float = NAN
    forget_bias_parts: dict[str, float] = field(default_factory=dict)
    forget_bias_elsewhere: dict[str, float] = field(default_factory=dict)
    matrix: str = ""
    spectral_radius: float = NAN
    spectral_norm: float = NAN
    transient_growth: float = NAN
    predicted_horizon: float = NAN

    @classmethod
    def of(
        cls,
        layer: str,
        measured: LayerMeasurements | None = None,
        coverage: Coverage | None = None,
        facts: RunFacts | None = None,
    ) -> Vitals:
        """Return the vital signs of one layer.

        Args:
            layer: Its name.
            measured: What was measured of it; None if nothing was.
            coverage: How it was captured.
            facts: What is known of the run.

        Example:
            >>> from rnn_diag.testing.known import linear_trace
            >>> vitals = Vitals.of("l0", LayerMeasurements.of(linear_trace(0.5, steps=20)))
            >>> vitals.horizon, vitals.furthest, vitals.spectral_radius
            (6.0, 19.0, 0.5)
        """
        facts = facts or RunFacts()
        signs: dict[str, Any] = {"coverage": coverage, "batches": facts.without_gradient.get(layer, 0)}
        if measured is None or measured.call is None:
            return cls(layer, **signs)
        signs |= _of_call(measured.call) | _of_run(layer, facts)
        signs["carried_state"] = measured.call.starts.carried or layer in facts.carried
        if measured.weights is not None:
            signs |= _of_weights(measured.weights)
        if measured.gates is not None:
            signs |= _of_gates(measured.gates, measured.influence)
        if measured.gradients is not None:
            signs |= _of_gradients(measured.gradients)
        if measured.influence is not None:
            signs |= _of_influence(measured.influence)
        return cls(layer, **signs)

    @property
    def horizon_share(self) -> float:
        """The horizon over the largest lag that could be seen; at 1 it may be longer."""
        return self.horizon / self.furthest if self.furthest > 0 else NAN

    @property
    def is_dense(self) -> bool:
        """Whether the loss, or a layer above, uses the output at half of the steps or more."""
        return self.direct_share >= 0.5

    @property
    def is_hidden(self) -> bool:
        """Whether its module is held in a plain list, tuple or dict, where torch does not look."""
        return self.coverage is not None and self.coverage.hint == "hidden"

    @property
    def seems_swapped(self) -> bool:
        """Whether one sequence of the batch at most gets a gradient, as where batch and time are swapped."""
        others = self.sequences - self.silent_sequences
        return self.has_gradients and self.sequences > 1 and (self.only_others or others == 1)

    @property
    def module(self) -> str:
        """The path of the module that the layer belongs to."""
        return self.layer.rpartition(".")[0]

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by name, for JSON; those that are not finite are words there."""
        values = asdict(self)
        values["coverage"] = None if self.coverage is None else self.coverage._asdict()
        values["non_finite"] = None if self.non_finite is None else self.non_finite._asdict()
        return {name: _worded(value) for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Vitals:
        """Return what `to_dict` gave, in this version or the one before it, which wrote both objects as sentences."""
        known = {one.name for one in fields(cls)}
        read = {name: _unworded(value) for name, value in values.items() if name in known}
        coverage, non_finite = values.get("coverage"), values.get("non_finite")
        read["coverage"] = _coverage_of(str(values["layer"]), coverage) if coverage else None
        if isinstance(non_finite, str):
            non_finite = {"where": non_finite, "is_gradient": "_grad" in non_finite} if non_finite else None
        read["non_finite"] = FirstNonFinite(**non_finite) if non_finite else None
        return cls(**read)


def beside_each_other(vitals: Mapping[str, Vitals]) -> dict[str, Vitals]:
    """Return the layers' vital signs with what each must know of the others of its module."""
    return {layer: _beside(one, vitals) for layer, one in vitals.items()}


def _of_call(call: CallFacts) -> dict[str, Any]:
    recurrence: Recurrence = call.recurrence
    return {
        "kind": recurrence.kind,
        "is_gated": recurrence.is_gated,
        "has_cell": recurrence.has_cell,
        "has_matrix": recurrence.has_matrix,
        "memory_gate": recurrence.memory_gate,
        "harmful": recurrence.harmful,
        "steps": call.inputs.longest,
        "sequences": call.inputs.sequences,
        "is_part": call.inputs.is_part,
        "calls": call.calls,
        "state_changed": call.state_changed,
        "in_pieces": call.in_pieces,
        "input_scale": call.inputs.scale,
        "from_zero": call.starts.at_zero,
        "padding": call.inputs.padding,
        "padding_read": call.inputs.padding_read,
        "padding_in_front": call.inputs.padding_in_front,
        "has_gradients": call.has_gradients,
        "on_graph": call.on_graph,
        "non_finite": call.non_finite,
        "fidelity": NAN if call.fidelity is None else call.fidelity,
        "is_unfaithful": call.is_unfaithful,
        "reduced_precision": call.reduced_precision,
        "below_float16": call.tiny / call.entries if call.entries else NAN,
    }


def _of_run(layer: str, facts: RunFacts) -> dict[str, Any]:
    known: dict[str, Any] = {
        "amp_scaled": facts.amp_scaled,
        "is_frozen": layer in facts.frozen,
        "in_no_optimizer": layer in facts.untrained,
        "clip_value": facts.clips_to,
        "zero_batches": facts.with_zero_gradient.get(layer, 0),
    }
    clipping = facts.clipping
    if clipping is None:
        return known
    return known | {
        "clip_share": clipping.share,
        "clip_factor": clipping.factor,
        "clip_steps": clipping.steps,
        "clip_value": clipping.limit,
    }


def _of_weights(weights: WeightNumbers) -> dict[str, Any]:
    known: dict[str, Any] = {
        "forget_bias": weights.forget_bias,
        "forget_bias_parts": {} if weights.bias is None else weights.bias._asdict(),
    }
    plain: BlockSpectrum | None = weights.plain
    if plain is None:
        return known
    growth = NAN if plain.transient_growth is None else plain.transient_growth
    return known | {
        "matrix": next(iter(weights.spectra)),
        "spectral_radius": plain.spectral_radius,
        "spectral_norm": plain.spectral_norm,
        "transient_growth": growth if math.isfinite(growth) else NAN,
        "predicted_horizon": _steps_to_one_percent(plain.spectral_radius),
    }


def _of_gates(gates: GateCounts, influence: Influence | None) -> dict[str, Any]:
    known: dict[str, Any] = {"tanh_saturated": gates.tanh_saturated, "relu_dead": gates.relu_dead}
    if not gates.gates:
        return known
    memory = gates.longest_memory
    threshold = THRESHOLD if influence is None else influence.threshold
    return known | {
        "shut": gates.shut,
        "open": gates.open,
        "stuck_shut": gates.stuck_shut,
        "stuck_open": gates.stuck_open,
        "fixed_shut": gates.fixed_shut,
        "fixed_open": gates.fixed_open,
        "switching": gates.switching,
        "flat": gates.flat,
        "longest_memory": memory,
        "predicted_horizon": -math.log(threshold) * memory,
    }


def _of_gradients(gradients: GradientSums) -> dict[str, Any]:
    hidden, cell, direct = gradients.hidden, gradients.cell, gradients.direct
    ratios = [NAN if part is None else part.log10_first_to_last for part in (hidden, cell)]
    count = hidden.sequences
    known: dict[str, Any] = {
        "log10_first_to_last": max((ratio for ratio in ratios if not math.isnan(ratio)), default=NAN),
        "cell_log10_first_to_last": ratios[1],
        "first_step": hidden.first_step / count if count else NAN,
        "last_step": hidden.last_step / count if count else NAN,
        "slope": gradients.mean_slope,
        "rounding": NAN if gradients.rounding is None else gradients.rounding,
        "precision": gradients.precision,
        "exact_zero": gradients.exact_zero,
        "silent_sequences": gradients.silent,
        "only_others": gradients.elsewhere > 0 and gradients.zeros == gradients.count,
    }
    if direct is None:
        return known
    return known | {"direct_share": direct.share, "read_share": direct.read_share, "direct_norm": direct.mean_norm}


def _of_influence(influence: Influence) -> dict[str, Any]:
    return {
        "horizon": influence.horizon,
        "furthest": influence.lags_seen,
        "influence_at_furthest": influence.left,
        "influence_peak": influence.peak,
    }


def _steps_to_one_percent(radius: float) -> float:
    if math.isnan(radius):
        return NAN
    return math.inf if radius >= 1 else math.log(THRESHOLD) / math.log(radius) if radius > 0 else 0.0


def _beside(one: Vitals, all_layers: Mapping[str, Vitals]) -> Vitals:
    name, ending = one.layer, "_reverse"
    opposite = all_layers.get(name.removesuffix(ending) if name.endswith(ending) else name + ending)
    siblings = [other for other in all_layers.values() if other.module == one.module and other.layer != one.layer]
    direction = {} if opposite is None else {"read_share": opposite.read_share, "direct_norm": opposite.direct_norm}
    biases = {other.layer: other.forget_bias for other in siblings if not math.isnan(other.forget_bias)}
    if (one.other_direction, one.forget_bias_elsewhere) == (direction, biases):
        return one
    return replace(one, other_direction=direction, forget_bias_elsewhere=biases)


def _coverage_of(layer: str, value: str | Mapping[str, Any]) -> Coverage:
    if not isinstance(value, str):
        return Coverage(**{**value, "status": Status(value["status"])})
    status, _, reason = value.partition(": ")
    return Coverage(layer, "", Status(status), reason)


def _worded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _worded(part) for name, part in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _unworded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unworded(part) for key, part in value.items()}
    return float(value) if value in ("nan", "inf", "-inf") else value
