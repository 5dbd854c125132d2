"""What can be asked about one call of a layer, so that all who ask for the same share one measurement."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Protocol

from rnn_diag.cells.equations import Equations
from rnn_diag.pending import Pending
from rnn_diag.trace import Trace


class GradientUnits(NamedTuple):
    """The scale of the gradients of one backward pass.

    Attributes:
        factor: What they must be multiplied by to be those of the loss as trained.
        scaled: Whether a gradient scaler is at work, which tries scales until gradients overflow, and skips such steps.
    """

    factor: float
    scaled: bool


class Needs(NamedTuple):
    """What a call must have to be measured.

    Attributes:
        gradients: A backward pass that reached the layer.
        equations: Known equations; a cell may be registered without.
        weights_only: Nothing but weights: they are the same at every call and on every rank, so rank zero measures once
            and completes the measurement in the background.
    """

    gradients: bool = False
    equations: bool = True
    weights_only: bool = False


class Measure(Protocol):
    """What is to be measured of one call of a layer.

    Hashable, and equal to every other measure that asks for the same: a session measures it once for all who ask.
    """

    needs: ClassVar[Needs] = Needs()

    def has_numbers_of(self, equations: Equations) -> bool:
        """Return whether there is anything to measure of a recurrence; by default of every one."""
        return True

    def prepare(self, trace: Trace) -> None:
        """Say what `of` is going to read of a call, before any measure reads of it; by default nothing."""
        return

    def of(self, trace: Trace, units: GradientUnits) -> Any:
        """Measure one call; a measure defines this, or `pending`.

        The result must support `+` (it is summed over calls and ranks) and live on the CPU.
        """
        return self.pending(trace, units).here()

    def pending(self, trace: Trace, units: GradientUnits) -> Pending[Any]:
        """Ask a call's device for what `of` returns, without waiting for it."""
        return Pending.known(self.of(trace, units))

    def at_once(self, measured: Any) -> Any:
        """Return what is known of weights before the measurement is finished: small, for all ranks; or None.

        An earlier finished measurement may be added to it.
        """
        return None

    def complete(self, measured: Any) -> Any:
        """Return the finished measurement: the slow part, computed in the background from copies alone."""
        return measured
