"""All that is measured of one layer, typed field by field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnn_diag.measurements.call import CallFacts, MeasureCall
from rnn_diag.measurements.exponents import ExponentSums
from rnn_diag.measurements.gate_weights import GateWeightNumbers
from rnn_diag.measurements.gates import GateCounts, MeasureGates
from rnn_diag.measurements.gradients import GradientSums, MeasureGradients, together
from rnn_diag.measurements.influence import Influence, MeasureInfluence
from rnn_diag.measurements.measure import GradientUnits, Measure
from rnn_diag.measurements.statistics import Statistic
from rnn_diag.measurements.weights import MeasureWeights, WeightNumbers
from rnn_diag.trace import Trace

STATISTICS: Mapping[str, tuple[Statistic, ...]] = {
    "gradient_norms": GradientSums.statistics,
    "memory_horizon": Influence.statistics,
    "spectrum": WeightNumbers.statistics,
    "saturation": GateCounts.statistics,
    "lyapunov": ExponentSums.statistics,
    "gate_weights": GateWeightNumbers.statistics,
}
"""By the first part of their tags."""

AS_TRAINED = GradientUnits(1.0, False)
"""Of a loss that was differentiated as it is."""


@dataclass(frozen=True)
class LayerMeasurements:
    """What was measured of one layer in one or several calls, on one or several ranks; None for what was not.

    Attributes:
        gradients: The loss gradient over time.
        influence: How far back single losses reach.
        gates: How often gates are shut and open.
        weights: What the weights alone say.
        call: The facts that all other numbers rest on.
        exponents: Lyapunov exponents.
    """

    gradients: GradientSums | None = None
    influence: Influence | None = None
    gates: GateCounts | None = None
    weights: WeightNumbers | None = None
    call: CallFacts | None = None
    exponents: ExponentSums | None = None

    @classmethod
    def of(cls, trace: Trace, units: GradientUnits = AS_TRAINED) -> LayerMeasurements:
        """Measure one call for the doctor; of gated recurrences, whose spectra it does not judge, without spectra.

        Where a number is not finite, or the self-check failed, gradients mean nothing and are left out.

        Example:
            >>> from rnn_diag.testing.known import linear_trace
            >>> measured = LayerMeasurements.of(linear_trace(0.5, steps=20))
            >>> measured.influence.horizon, measured.weights.plain.spectral_radius
            (6.0, 0.5)
        """
        if trace.has_equations and trace.has_gradients:
            MeasureInfluence().prepare(trace)
        call = MeasureCall().of(trace, units)
        measures: list[Measure] = []
        if trace.has_equations:
            measures += [MeasureGates(), MeasureWeights(gated=False)]
        if call.has_gradients and call.non_finite is None and not call.is_unfaithful:
            measures += [MeasureGradients(), *([MeasureInfluence()] if trace.has_equations else [])]
        return cls.together(call, *(one.complete(one.of(trace, units)) for one in measures))

    @classmethod
    def together(cls, *parts: Any) -> LayerMeasurements:
        """Return the parts that were measured of one layer, each recognised by its class.

        Raises:
            TypeError: If a part is no measurement of these.
        """
        return cls(**{_field(part): part for part in parts})

    def __add__(self, other: LayerMeasurements) -> LayerMeasurements:
        return LayerMeasurements(
            gradients=together(self.gradients, other.gradients),
            influence=together(self.influence, other.influence),
            gates=together(self.gates, other.gates),
            weights=together(self.weights, other.weights),
            call=together(self.call, other.call),
            exponents=together(self.exponents, other.exponents),
        )


_FIELDS: Mapping[type, str] = {
    GradientSums: "gradients",
    Influence: "influence",
    GateCounts: "gates",
    WeightNumbers: "weights",
    CallFacts: "call",
    ExponentSums: "exponents",
}


def _field(part: Any) -> str:
    if type(part) not in _FIELDS:
        names = ", ".join(one.__name__ for one in _FIELDS)
        raise TypeError(f"part={type(part).__name__}; expected a measurement of a layer; choices: {names}")
    return _FIELDS[type(part)]


def chosen(needed: Sequence[Measure], asked: Iterable[Measure]) -> tuple[Measure, ...]:
    """Return the measures that are needed, each replaced by one of its kind that is asked for anyway.

    So the doctor judges by the thresholds that the callbacks show.

    Example:
        >>> chosen([MeasureInfluence()], [MeasureGates(), MeasureInfluence(threshold=0.05)])
        (MeasureInfluence(targets=4, threshold=0.05),)
    """
    by_kind = {type(one): one for one in reversed(list(asked))}
    return tuple(by_kind.get(type(one), one) for one in needed)
