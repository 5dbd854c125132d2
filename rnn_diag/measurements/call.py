"""The facts of a layer's calls: its recurrence, inputs, initial states, and whether its numbers can be relied on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

from rnn_diag.diagnostics.non_finite import NonFinite, first_non_finite_pending
from rnn_diag.engine.precision import SMALLEST_NORMAL
from rnn_diag.measurements.gradients import is_used
from rnn_diag.measurements.inputs import InputCounts
from rnn_diag.measurements.measure import GradientUnits, Measure, Needs
from rnn_diag.measurements.recurrence import Recurrence
from rnn_diag.measurements.starts import InitialStates
from rnn_diag.pending import Pending
from rnn_diag.trace import Trace


class FirstNonFinite(NamedTuple):
    """The first number of a layer that is not finite.

    Attributes:
        where: In words.
        is_gradient: Whether it is a gradient: states and weights are finite then.
    """

    where: str
    is_gradient: bool

    @classmethod
    def of(cls, found: NonFinite | None) -> FirstNonFinite | None:
        """Return that of one call, or None."""
        if found is None:
            return None
        return cls(str(found).removeprefix(f"{found.layer}: "), "_grad" in found.what)


@dataclass(frozen=True)
class CallFacts:
    """Facts of one or several calls of a layer, on one or several ranks.

    Attributes:
        recurrence: What the equations say of themselves.
        calls: How many they are.
        inputs: What they were fed.
        starts: The states that they started from.
        non_finite: The first number that is not finite; None where all are.
        fidelity: The largest relative error of the self-check; None where nothing could be checked.
        is_unfaithful: Whether that is more than rounding.
        reduced_precision: Whether the layer was computed in float16 or bfloat16.
        has_gradients: Whether a backward pass reached the layer.
        on_graph: Whether a graph was built, so that something could have been learned through the layer.
        state_changed: Whether the model changed the state between calls in a way that single losses cannot be followed
            through.
        in_pieces: Whether the state branched, was joined, or continued with other sequences: a trace is a piece.
        entries: Numbers that entered the layer's backward pass through used outputs.
        tiny: Those that float16 would hold with less than full precision, or lose.
    """

    recurrence: Recurrence
    calls: int
    inputs: InputCounts
    starts: InitialStates
    non_finite: FirstNonFinite | None
    fidelity: float | None
    is_unfaithful: bool
    reduced_precision: bool
    has_gradients: bool
    on_graph: bool
    state_changed: bool = False
    in_pieces: bool = False
    entries: int = 0
    tiny: int = 0

    @classmethod
    def of(cls, trace: Trace) -> CallFacts:
        """Return the facts of one call."""
        return cls.pending(trace).here()

    @classmethod
    def pending(cls, trace: Trace) -> Pending[CallFacts]:
        """Ask the call's device for what they are made of."""
        parts = (
            InputCounts.pending(trace),
            InitialStates.pending(trace),
            first_non_finite_pending(trace).then(FirstNonFinite.of),
            _entering(trace),
        )
        return Pending.together(parts, partial(cls._made_of, trace))

    @classmethod
    def _made_of(
        cls,
        trace: Trace,
        inputs: InputCounts,
        starts: InitialStates,
        non_finite: FirstNonFinite | None,
        entering: tuple[int, int],
    ) -> CallFacts:
        entries, tiny = entering
        return cls(
            recurrence=Recurrence.of(trace.equations if trace.has_equations else None),
            calls=1,
            inputs=inputs,
            starts=starts,
            non_finite=non_finite,
            fidelity=trace.fidelity,
            is_unfaithful=trace.is_faithful is False,
            reduced_precision=trace.provenance.half_precision,
            has_gradients=trace.has_gradients,
            on_graph=trace.provenance.on_graph,
            state_changed=trace.provenance.state_changed_between_calls,
            in_pieces=trace.provenance.is_piece,
            entries=entries,
            tiny=tiny,
        )

    def __add__(self, other: CallFacts) -> CallFacts:
        errors = [one.fidelity for one in (self, other) if one.fidelity is not None]
        return CallFacts(
            recurrence=self.recurrence,
            calls=self.calls + other.calls,
            inputs=self.inputs + other.inputs,
            starts=self.starts + other.starts,
            non_finite=self.non_finite or other.non_finite,
            fidelity=max(errors, default=None),
            is_unfaithful=self.is_unfaithful or other.is_unfaithful,
            reduced_precision=self.reduced_precision or other.reduced_precision,
            has_gradients=self.has_gradients or other.has_gradients,
            on_graph=self.on_graph or other.on_graph,
            state_changed=self.state_changed or other.state_changed,
            in_pieces=self.in_pieces or other.in_pieces,
            entries=self.entries + other.entries,
            tiny=self.tiny + other.tiny,
        )


@dataclass(frozen=True)
class MeasureCall(Measure):
    """Asks for `CallFacts`; every call has them."""

    needs: ClassVar[Needs] = Needs(equations=False)

    def pending(self, trace: Trace, units: GradientUnits) -> Pending[CallFacts]:
        """Ask for the facts of one call."""
        return CallFacts.pending(trace)


def _entering(trace: Trace) -> Pending[tuple[int, int]]:
    if not trace.has_equations or not trace.has_gradients:
        return Pending.known((0, 0))
    direct, used = trace.hidden_grad_direct, is_used(trace)
    units, tiny = direct.shape[-1], (direct.abs() < SMALLEST_NORMAL).sum(-1)
    return Pending((used, tiny), lambda used, tiny: (int(used.sum()) * units, int(tiny[used].sum())))
