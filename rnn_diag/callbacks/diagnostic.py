"""A callback with one concern of its own: the class to subclass for a diagnostic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from rnn_diag.callbacks.attachment import DiagnosticCallback
from rnn_diag.callbacks.concern import Concern, Patterns, Schedule
from rnn_diag.measurements.measure import GradientUnits, Measure, Needs
from rnn_diag.pending import Pending
from rnn_diag.trace import Trace


class Diagnostic(DiagnosticCallback, Concern):
    """A callback with one concern.

    A diagnostic of your own is a subclass with a `name`, `measure` and `scalars`:

    Example:
        >>> from rnn_diag.diagnostics import Profile
        >>> class Liveliness(Diagnostic):
        ...     name = "liveliness"
        ...
        ...     def measure(self, trace, units):
        ...         return Profile.of(trace.hidden.abs().mean(-1).cpu(), trace.mask)
        ...
        ...     def scalars(self, layer, merged):
        ...         return {"mean": float(merged.mean.mean())}
        >>> from rnn_diag.measurements.layer import AS_TRAINED
        >>> from rnn_diag.testing.known import linear_trace
        >>> diagnostic = Liveliness(every_n_steps=10)
        >>> diagnostic.scalars("l0", diagnostic.measure(linear_trace(0.5, steps=2), AS_TRAINED))
        {'mean': 0.375}

    Args:
        every_n_steps: It measures at training steps that are multiples of this: a schedule that depends on the step
            alone, so that all ranks measure together.
        sequences: How many sequences of a batch are looked at on each rank; None for all. Where several callbacks are
            due at once, the largest number holds for all.
        layers: Glob pattern of the layers' names, or several.
        max_overhead: The share of the training time that measuring may take, that of all callbacks of this package
            together. Where it would take more, it skips steps, on all ranks alike, from the second measured step on;
            those that it measures stay multiples of `every_n_steps`. Of several callbacks' shares the smallest holds.
            None: measure at all costs.
        discover: Whether a module of your own that proves to be recurrent is followed by its state, too, without being
            registered: looked for at the first measured steps.

    Raises:
        ValueError: If `every_n_steps` or `sequences` is not positive, or `max_overhead` not between 0 and 1.
        TypeError: If one of these is no number, or `layers` neither a pattern nor several.
    """

    needs_gradients: ClassVar[bool] = False
    """Whether there is nothing to measure at a layer that no backward pass reached."""

    needs_equations: ClassVar[bool] = True
    """Whether there is nothing to measure at a registered cell whose equations are not known."""

    of_weights: ClassVar[bool] = False
    """Whether it looks at weights alone, the same at every call and on every rank: rank zero measures once, and
    completes the measurement in a thread of its own."""

    def __init__(
        self,
        every_n_steps: int = Schedule.every_n_steps,
        sequences: int | None = Schedule.sequences,
        layers: Patterns = Schedule.layers,
        max_overhead: float | None = Schedule.max_overhead,
        discover: bool = Schedule.discover,
    ) -> None:
        super().__init__(Schedule(every_n_steps, sequences, layers, max_overhead, discover))

    @property
    def diagnostics(self) -> tuple[Concern, ...]:
        """Itself."""
        return (self,)

    @property
    def measure_of(self) -> Measure:
        """What `measure` and `complete` compute; a subclass that has a measure to share with others returns that."""
        return _Own(self)

    def measure(self, trace: Trace, units: GradientUnits) -> Any:
        """Measure one call of a layer on this rank.

        The result must support `+` (it is summed over calls and ranks) and live on the CPU. To bring it there is to
        wait for a GPU; a `rnn_diag.pending.Pending` of it is read when the next batch ends, and nobody waits.

        Args:
            trace: What was recorded.
            units: Of its gradients.
        """
        raise NotImplementedError(f"{type(self).__name__} measures nothing; expected a method `measure(trace, units)`")

    def complete(self, measured: Any) -> Any:
        """Return the finished measurement of weights: the slow part, computed in the background from copies alone."""
        return measured


@dataclass(frozen=True)
class _Own(Measure):
    """What one diagnostic measures by itself: two of them never ask for the same."""

    diagnostic: Diagnostic

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """As the diagnostic's class says."""
        whose = self.diagnostic
        return Needs(whose.needs_gradients, whose.needs_equations, whose.of_weights)

    def pending(self, trace: Trace, units: GradientUnits) -> Pending[Any]:
        """Measure one call."""
        measured = self.diagnostic.measure(trace, units)
        return measured if isinstance(measured, Pending) else Pending.known(measured)

    def complete(self, measured: Any) -> Any:
        """Return the finished measurement."""
        return self.diagnostic.complete(measured)
