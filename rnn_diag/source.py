"""What a trace asks for its numbers; and the source of them that needs equations, inputs and direct gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, final

import torch
from torch import Tensor

from rnn_diag.cells.equations import Equations, State
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.engine import Explicit
from rnn_diag.engine.precision import is_waited_for
from rnn_diag.engine.scan import scan_of
from rnn_diag.engine.sweep import Sweeper, Swept, sweep
from rnn_diag.engine.targets import Entering, sweep_with_targets
from rnn_diag.engine.unroll import Unrolled, back_to_front, unroll_from_states
from rnn_diag.pending import Pending

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


Result = TypeVar("Result")


class OutputGrads(NamedTuple):
    """What reached a layer from outside.

    Attributes:
        hidden: `[T, B, P]` gradient of the output at every step, or None where nothing used the output.
        final: Gradient of the state after the last valid step, each part None where nothing used it.
    """

    hidden: Tensor | None
    final: State


FoundGrads = OutputGrads | str | None
"""What reached a layer from outside, or why that is not known; None without a backward pass."""


class Fidelity(NamedTuple):
    """What the self-check found.

    Attributes:
        error: Relative error against what autograd gave, or None where there was nothing to compare with.
        reason: What was compared, or why nothing was.
        tolerance: Largest error that rounding explains.
        rounding: How far the gradient that the training got is from the equations' by rounding alone, amplified by the
            network; None where that could not be told from the error, which then holds it.
        precision: What was rounded to: `TF32`, `bfloat16`, …
    """

    error: float | None
    reason: str
    tolerance: float = 1e-3
    rounding: float | None = None
    precision: str = ""


class Source(Protocol):
    """Where the numbers of one layer's trace come from.

    Steps of `inputs` and `mask` are those of the input; everything else is in the order in which the layer read. What
    is costly is computed when it is first asked for.
    """

    @property
    def equations(self) -> Equations | None:
        """The recurrence, or None of a cell that was registered without."""

    @property
    def weights(self) -> Weights | None:
        """Its parameters, or None without equations."""

    @property
    def inputs(self) -> Float[Tensor, "time batch *features"]:
        """What the layer was fed."""

    @property
    def mask(self) -> Bool[Tensor, "time batch"] | None:
        """Valid steps, at the front of every sequence, or None when all are."""

    @property
    def reverse(self) -> bool:
        """Whether time was read from the end."""

    @property
    def initial(self) -> State:
        """The state before the first step read."""

    @property
    def hidden(self) -> Float[Tensor, "time batch *projected"]:
        """The hidden state after each step."""

    @property
    def returned(self) -> State | None:
        """The states that the call itself returned, to compare those of the equations with; None where not known."""

    @property
    def states(self) -> dict[str, Tensor]:
        """Every part of the state after each step, `[T, B, *]` by name."""

    @property
    def unrolled(self) -> Unrolled:
        """What the equations went through; only with equations."""

    @property
    def has_gradients(self) -> bool:
        """Whether a backward pass reached the layer."""

    @property
    def no_gradients(self) -> str:
        """Why there are none, where there are none."""

    @property
    def unfollowed_have_gradient(self) -> Tensor | bool:
        """Whether the gradients of all followed sequences are zero while others of their batch have some."""

    @property
    def swept(self) -> Swept:
        """Gradients of every quantity; only with equations and gradients."""

    @property
    def state_grads(self) -> dict[str, Tensor]:
        """Total gradient of every part of the state, `[T, B, *]` by name; only with gradients."""

    def sweep(self, hidden_grad_direct: Tensor, final_grad: State | None) -> Swept:
        """Run the adjoint on other gradients than the recorded ones."""

    def check(self) -> Pending[Fidelity]:
        """Compare with what autograd gave."""


def in_full_precision(compute: Callable[[Any], Result]) -> Callable[[Any], Result]:
    """Let a property be computed off the graph and in the dtype of its inputs, whatever the block it is read in."""

    @wraps(compute)
    def computed(owner: Any) -> Result:
        with torch.no_grad(), torch.autocast(owner.inputs.device.type, enabled=False):
            return compute(owner)

    return computed


NO_BACKWARD = (
    "no backward pass reached it while it was recorded; call backward() inside the block, or read states and gates only"
)
NOT_RECORDED = Fidelity(None, "nothing to check against: the trace was not recorded")


@final
class LayerSource:
    """A layer of which equations, inputs and the gradients from outside are known: the rest is unrolled and swept.

    Args:
        equations: The recurrence.
        weights: Its parameters.
        inputs: `[T, B, I]` what it was fed.
        initial: The state before the first step read.
        mask: Valid steps, or None when all are.
        hidden: `[T, B, P]` the states it had, in steps of the input, when they are known; they are computed otherwise.
        output_grads: What reached it from outside, or why that is not known, or a function that finds out; None without
            a backward pass.
        reverse: Whether time was read from the end.
        check: The self-check.
        sweeper: The engine of the backward sweep.
        only_others: Whether only sequences that were not followed have a gradient, or a function that finds out.
    """

    def __init__(
        self,
        equations: Equations,
        weights: Weights,
        inputs: Float[Tensor, "time batch features"],
        initial: State,
        mask: Bool[Tensor, "time batch"] | None = None,
        hidden: Float[Tensor, "time batch projected"] | None = None,
        output_grads: FoundGrads | Callable[[], FoundGrads] = None,
        reverse: bool = False,
        check: Callable[[], Pending[Fidelity]] | Fidelity = NOT_RECORDED,
        sweeper: Sweeper = sweep,
        only_others: Callable[[], Tensor | bool] | bool = False,
    ) -> None:
        self.equations = equations
        self.weights = weights
        self.inputs = inputs
        self.initial = initial
        self.mask = None if mask is not None and not is_waited_for(mask) and bool(mask.all()) else mask
        self.reverse = reverse
        self._hidden = hidden
        self._output_grads = output_grads
        self._check = check
        self._sweeper = sweeper
        self._only_others = only_others

    @property
    def hidden(self) -> Tensor:
        """The hidden state, as it is known or from the equations."""
        return self.unrolled.hidden if self._hidden is None else self._in_order(self._hidden)

    @property
    def returned(self) -> State | None:
        """The states that the kernel returned, in the order of reading, where they are known."""
        return None if self._hidden is None else State(self.hidden)

    @property
    def states(self) -> dict[str, Tensor]:
        """The hidden state and the memory."""
        cell = self.unrolled.cell if self.equations.has_cell else None
        return parts_by_name(self.equations, self.hidden, cell)

    @cached_property
    @in_full_precision
    def unrolled(self) -> Unrolled:
        """The equations over time."""
        inputs = self._in_order(self.inputs)
        if self._hidden is None:
            engine = scan_of(self.equations, self.weights) or Explicit()
            return engine.unroll(self.equations, self.weights, inputs, self.initial, self.mask)
        hidden = self._in_order(self._hidden)
        return unroll_from_states(self.equations, self.weights, inputs, self.initial, hidden, self.mask)

    @property
    def has_gradients(self) -> bool:
        """Whether a backward pass reached the layer."""
        return isinstance(self._found_grads, OutputGrads)

    @property
    def no_gradients(self) -> str:
        """Why there are none."""
        found = self._found_grads
        return found if isinstance(found, str) else NO_BACKWARD

    @property
    def unfollowed_have_gradient(self) -> Tensor | bool:
        """Whether only sequences that were not followed have a gradient."""
        return self._only_others() if callable(self._only_others) else self._only_others

    @cached_property
    @in_full_precision
    def swept(self) -> Swept:
        """The gradients of one sweep."""
        direct, cell = self._entering()
        return self.sweep(direct, None if cell is None else State(torch.zeros_like(direct[0]), cell))

    @property
    def is_swept(self) -> bool:
        """Whether the gradients are known already."""
        return "swept" in self.__dict__

    def sweep_with_targets(self, targets: Int[Tensor, "target batch"]) -> Float[Tensor, "part time target batch"]:
        """Sweep the whole loss, as `swept`, and what of it enters at single steps, at once.

        Args:
            targets: Positions in the order of reading; -1 where a sequence has none.

        Returns:
            The norm of what every target sends to each hidden state, then to each memory cell, where there is one.
        """
        with torch.no_grad(), torch.autocast(self.inputs.device.type, enabled=False):
            loss = Entering(*self._entering(), self._last)
            swept, norms = sweep_with_targets(self._sweeper, self.equations, self.weights, self.unrolled, loss, targets)
        self.__dict__["swept"] = swept
        return norms

    @property
    @in_full_precision
    def loss_enters(self) -> Bool[Tensor, "time batch"]:
        """Whether anything reached each step from outside, in the order of reading."""
        direct, cell = self._entering()
        enters = (direct != 0).any(-1)
        if cell is not None:
            enters[self._last, torch.arange(len(cell), device=cell.device)] |= (cell != 0).any(-1)
        return enters

    def _entering(self) -> tuple[Tensor, Tensor | None]:
        """Return what reached the hidden state at every step, in the order of reading, and the final memory."""
        grads = self._found_grads
        assert isinstance(grads, OutputGrads)
        direct = torch.zeros_like(self.unrolled.hidden) if grads.hidden is None else self._in_order(grads.hidden)
        if grads.final.hidden is not None:
            last = self._last.view(1, -1, 1).expand(1, *direct.shape[1:])
            direct = direct.scatter_add(0, last, grads.final.hidden.unsqueeze(0))
        return direct, grads.final.cell

    @property
    def _last(self) -> Int[Tensor, " batch"]:
        """The position of every sequence's own last step."""
        steps, batch = self.inputs.shape[:2]
        full = torch.full((batch,), steps, device=self.inputs.device)
        return ((full if self.mask is None else self.mask.sum(0)) - 1).clamp(min=0)

    @property
    def state_grads(self) -> dict[str, Tensor]:
        """The sweep's totals."""
        return parts_by_name(self.equations, self.swept.hidden_grad, self.swept.cell_grad)

    def sweep(self, hidden_grad_direct: Tensor, final_grad: State | None) -> Swept:
        """Run the adjoint by this layer's engine."""
        return self._sweeper(self.equations, self.weights, self.unrolled, hidden_grad_direct, final_grad)

    def check(self) -> Pending[Fidelity]:
        """Compare with what autograd gave."""
        return self._check() if callable(self._check) else Pending.known(self._check)

    @cached_property
    def _found_grads(self) -> FoundGrads:
        return self._output_grads() if callable(self._output_grads) else self._output_grads

    def _in_order(self, steps: Tensor) -> Tensor:
        return back_to_front(steps, self.mask) if self.reverse else steps

    def __getstate__(self) -> dict[str, Any]:
        """Find the gradients now: a copy holds neither the recording nor the model."""
        found = {
            "_output_grads": self._found_grads,
            "_check": self.check().here(),
            "_only_others": bool(self.unfollowed_have_gradient),
        }
        return self.__dict__ | found


def forget_computed(source: Source) -> None:
    """Drop what a source has computed and can compute again."""
    for name in ("hidden", "unrolled", "swept", "_totals"):
        vars(source).pop(name, None)


def parts_by_name(equations: Equations, hidden: Tensor, cell: Tensor | None) -> dict[str, Tensor]:
    """Return the parts of the state, or their gradients, by name; of a memory of several parts, each one, too."""
    named = {"hidden": hidden} | ({} if cell is None else {"cell": cell})
    parts = equations.cell_parts
    if cell is not None and len(parts) > 1:
        named |= dict(zip(parts, cell.chunk(len(parts), dim=-1), strict=True))
    return named
