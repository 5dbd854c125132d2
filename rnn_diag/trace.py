"""What one recurrent layer went through in one call and one direction: states, gates and gradients, when asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from rnn_diag.cells.equations import Equations, State
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.sweep import Sweeper, Swept, sweep
from rnn_diag.engine.unroll import Unrolled, back_to_front, unroll, unroll_from_states

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

Quantity = TypeVar("Quantity")


def in_full_precision(compute: Callable[[Any], Quantity]) -> Callable[[Any], Quantity]:
    """Let a property of a trace be computed off the graph and in its own dtype, whatever the block it is read in."""

    @wraps(compute)
    def computed(trace: Trace) -> Quantity:
        with torch.no_grad(), torch.autocast(trace.inputs.device.type, enabled=False):
            return compute(trace)

    return computed


class OutputGrads(NamedTuple):
    """What reached a layer from outside.

    Attributes:
        hidden: `[T, B, P]` gradient of the output at every step, or None where nothing used the output.
        final: Gradient of the state after the last valid step, each part None where nothing used it.
    """

    hidden: Tensor | None
    final: State


class ByName(dict[str, Tensor]):
    """Tensors by the name of a gate or block; a name that there is not is answered with those that there are."""

    def __missing__(self, name: str) -> Tensor:
        raise KeyError(f"no gate or block is called {name!r}; found: {', '.join(self) or 'none'}")


class Trace:
    """What one recurrent layer went through in one call and one direction.

    Time first, the batch in the caller's order, every tensor detached. Steps are those of the input: in a reverse
    direction `hidden[t]` is the state after reading step `t`, which was reached from step `t+1`. Gradients are total
    derivatives of the loss that was differentiated while recording, as autograd would leave them on the tensors of an
    unrolled graph; they are zero at padding. Values at padding mean nothing: use `mask`.

    Attributes:
        layer: `<module path>.l<k>[_reverse]`.
        equations: The recurrence.
        weights: Its parameters, as they were.
        inputs: `[T, B, I]`.
        mask: `[T, B]` valid steps.
        reverse: Whether time was read from the end.
        sequences: `[B]` which of the batch's sequences these are.
        fidelity: Relative error of the self-check against what autograd gave the module, or None.
        fidelity_reason: Why `fidelity` is None.
        kept: What measures keep here so that none computes it twice.
    """

    started = 0
    """Place of its first call among all calls of the recording."""

    had_grad = False
    """Whether a graph was built when it was recorded."""

    initial_requires_grad = False
    """Whether the state that it started from was on the graph: the gradient goes on into what made it, uncut."""

    was_frozen = False
    """Whether its `weight_hh` needed no gradient when it was recorded."""

    def __init__(
        self,
        layer: str,
        equations: Equations,
        weights: Weights,
        inputs: Float[Tensor, "time batch features"],
        initial: State,
        mask: Bool[Tensor, "time batch"] | None = None,
        hidden: Float[Tensor, "time batch projected"] | None = None,
        output_grads: OutputGrads | Callable[[], OutputGrads | None] | None = None,
        reverse: bool = False,
        sequences: Int[Tensor, " batch"] | None = None,
        fidelity: Callable[[Trace], tuple[float | None, str]] | None = None,
        tolerance: float = 1e-3,
        sweeper: Sweeper = sweep,
    ) -> None:
        """Hold what was seen; compute nothing.

        Args:
            layer: Its name.
            equations: The recurrence.
            weights: Its parameters.
            inputs: What it was fed.
            initial: The state before the first step in processing order.
            mask: Valid steps, at the front of every sequence, or None when all are.
            hidden: The states it had, when they are known; they are computed otherwise.
            output_grads: What reached it from outside, or a function that finds out, or None without a backward pass.
            reverse: Whether time was read from the end.
            sequences: Which of the batch's sequences these are; all, in order, by default.
            fidelity: The self-check: a relative error, or None and the reason.
            tolerance: Largest fidelity that rounding explains.
            sweeper: The engine of the backward sweep.
        """
        steps, batch = inputs.shape[:2]
        self.layer = layer
        self.equations = equations
        self.weights = weights
        self.inputs = inputs
        self.mask = torch.ones(steps, batch, dtype=torch.bool, device=inputs.device) if mask is None else mask
        self.reverse = reverse
        self.sequences = torch.arange(batch) if sequences is None else sequences
        self._initial = initial
        self._padding = None if mask is None or bool(mask.all()) else mask
        self._hidden = hidden
        self._output_grads = output_grads
        self._fidelity: Callable[[Trace], tuple[float | None, str]] | tuple[float | None, str] | None = fidelity
        self.tolerance = tolerance
        self._sweeper = sweeper
        self.kept: dict[Any, Any] = {}

    @property
    def lengths(self) -> Int[Tensor, " batch"]:
        """Valid steps of every sequence."""
        return self.mask.sum(0)

    @property
    def initial_hidden(self) -> Float[Tensor, "batch projected"]:
        """The hidden state before the first step read."""
        return self._initial.hidden

    @property
    def initial_cell(self) -> Float[Tensor, "batch hidden"] | None:
        """The memory before the first step read, or None for a recurrence without one."""
        return self._initial.cell

    @cached_property
    def hidden(self) -> Float[Tensor, "time batch projected"]:
        """`h_t`."""
        return self._in_time(self._in_order(self._hidden) if self._hidden is not None else self.unrolled.hidden)

    @cached_property
    def previous_hidden(self) -> Float[Tensor, "time batch projected"]:
        """The hidden state that step `t` started from: `h_{t-1}`, in a reverse direction `h_{t+1}`."""
        return self._in_time(self.unrolled.previous_hidden)

    @cached_property
    def cell(self) -> Float[Tensor, "time batch hidden"] | None:
        """`c_t`, or None for a recurrence without a memory cell."""
        return None if self.unrolled.cell is None else self._in_time(self.unrolled.cell)

    @cached_property
    def previous_cell(self) -> Float[Tensor, "time batch hidden"] | None:
        """The memory that step `t` started from, or None."""
        before = self.unrolled.previous_cell
        return None if before is None else self._in_time(before)

    @cached_property
    def gates(self) -> dict[str, Tensor]:
        """Gate `[T, B, H]` by name; LSTM: input, forget, candidate, output; GRU: reset, update, candidate."""
        activations = self.unrolled.steps.gates
        pairs = zip(self.equations.gates, activations, strict=True)
        return ByName({gate.name: self._in_time(values) for gate, values in pairs})

    @cached_property
    def preactivations(self) -> dict[str, Tensor]:
        """What the gates' nonlinearities are applied to, `[T, B, H]` by name; a plain RNN has one, `hidden`."""
        preactivations = self.unrolled.steps.preactivations
        pairs = zip(self.equations.blocks, preactivations, strict=True)
        return ByName({block.name: self._in_time(values) for block, values in pairs})

    @property
    @in_full_precision
    def recurrent_weights(self) -> dict[str, Tensor]:
        """The recurrent map of every block `[H, H]`, by name: `W_hh`, with `proj_size` times `W_hr`."""
        return ByName(self.equations.recurrent_maps(self.weights))

    @property
    def has_gradients(self) -> bool:
        """Whether a backward pass reached this layer."""
        return self._found_grads is not None

    @cached_property
    def hidden_grad(self) -> Float[Tensor, "time batch projected"]:
        """`∂L/∂h_t`, total: through the output at step `t` and through all later steps.

        Raises:
            RuntimeError: If no backward pass ran while recording.
        """
        return self._valid(self._in_time(self.swept.hidden_grad))

    @cached_property
    def hidden_grad_direct(self) -> Float[Tensor, "time batch projected"]:
        """The part of `∂L/∂h_t` that came through what was done with `h_t` outside this layer."""
        return self._valid(self._in_time(self.swept.hidden_grad_direct))

    @cached_property
    def hidden_grad_recurrent(self) -> Float[Tensor, "time batch projected"]:
        """The part of `∂L/∂h_t` that came through the next step read."""
        return self._valid(self._in_time(self.swept.hidden_grad_recurrent))

    @cached_property
    def cell_grad(self) -> Float[Tensor, "time batch hidden"] | None:
        """`∂L/∂c_t`, total, or None for a recurrence without a memory cell."""
        grad = self.swept.cell_grad
        return None if grad is None else self._valid(self._in_time(grad))

    @cached_property
    def preactivation_grad(self) -> dict[str, Tensor]:
        """Gradient of every pre-activation, `[T, B, H]` by name."""
        blocks = self.swept.projected_grad.chunk(len(self.equations.blocks), dim=-1)
        pairs = zip(self.equations.blocks, blocks, strict=True)
        return ByName({block.name: self._valid(self._in_time(grad)) for block, grad in pairs})

    @property
    def fidelity(self) -> float | None:
        """Relative error of the self-check against what autograd gave; None where there is nothing to check."""
        return self._checked[0]

    @property
    def fidelity_reason(self) -> str:
        """What `fidelity` was checked against, or why it could not be."""
        return self._checked[1]

    @property
    def is_faithful(self) -> bool | None:
        """Whether the self-check came out within its tolerance; None where there is nothing to check."""
        return None if self.fidelity is None else self.fidelity <= self.tolerance

    @cached_property
    @in_full_precision
    def _checked(self) -> tuple[float | None, str]:
        if self._fidelity is None:
            return None, "nothing to check against: the trace was not recorded"
        return self._fidelity(self) if callable(self._fidelity) else self._fidelity

    @cached_property
    @in_full_precision
    def unrolled(self) -> Unrolled:
        """What the recurrence went through, in processing order."""
        inputs = self._in_order(self.inputs)
        if self._hidden is None:
            return unroll(self.equations, self.weights, inputs, self._initial, self._padding)
        hidden = self._in_order(self._hidden)
        return unroll_from_states(self.equations, self.weights, inputs, self._initial, hidden, self._padding)

    @cached_property
    def swept(self) -> Swept:
        """The gradients of one sweep, in processing order."""
        grads = self._found_grads
        if grads is None:
            raise self._no_gradients()
        direct = torch.zeros_like(self.unrolled.hidden) if grads.hidden is None else self._in_order(grads.hidden)
        direct = self._with_final(direct, grads.final.hidden)
        return self.sweep(
            direct, None if grads.final.cell is None else State(torch.zeros_like(direct[0]), grads.final.cell)
        )

    def _no_gradients(self) -> RuntimeError:
        return RuntimeError(
            f"{self.layer!r} has no gradients: no backward pass reached it while it was recorded; "
            "call backward() inside the block, or read states and gates only"
        )

    @cached_property
    def nothing_swept(self) -> Swept:
        """The sweep of no gradient at all."""
        return self.sweep(torch.zeros_like(self.unrolled.hidden))

    @property
    @in_full_precision
    def input_grad(self) -> Float[Tensor, "time batch features"]:
        """`∂L/∂x_t`: the part of the input's gradient that comes through this layer."""
        return self._valid(self._in_time(self.swept.projected_grad @ self.weights.weight_ih))

    @property
    @in_full_precision
    def recurrent_weight_grad(self) -> Float[Tensor, "gates projected"]:
        """`Σ_t δ_t h_{t-1}^T`, over these sequences."""
        return self.swept.recurrent_grad.flatten(0, 1).T @ self.unrolled.previous_hidden.flatten(0, 1)

    def _with_final(self, direct: Tensor, final: Tensor | None) -> Tensor:
        """Return direct gradients to which that of the final state is added, at every sequence's own last step."""
        if final is None:
            return direct
        last = (self.lengths - 1).view(1, -1, 1).expand(1, *direct.shape[1:])
        return direct.scatter_add(0, last, final.unsqueeze(0))

    def sweep(
        self, hidden_grad_direct: Float[Tensor, "time *others batch projected"], final: State | None = None
    ) -> Swept:
        """Run this layer's adjoint on other gradients than the recorded ones, in processing order.

        Axes between time and batch carry several at once: one target each, one direction each.
        """
        with torch.no_grad(), torch.autocast(self.inputs.device.type, enabled=False):
            return self._sweeper(self.equations, self.weights, self.unrolled, hidden_grad_direct, final)

    @cached_property
    def _found_grads(self) -> OutputGrads | None:
        return self._output_grads() if callable(self._output_grads) else self._output_grads

    def _in_order(self, steps: Tensor) -> Tensor:
        return back_to_front(steps, self._padding) if self.reverse else steps

    _in_time = _in_order

    def _valid(self, steps: Tensor) -> Tensor:
        return steps if self._padding is None else steps.masked_fill(~self._padding.unsqueeze(-1), 0.0)

    def __getstate__(self) -> dict[str, Any]:
        """Ask the recording now what it would be asked later: a copy holds neither it nor the model."""
        return self.__dict__ | {"_output_grads": self._found_grads, "_fidelity": self._checked}

    def __repr__(self) -> str:
        steps, batch = self.inputs.shape[:2]
        direction = ", reverse" if self.reverse else ""
        doubt = ""
        if self.is_faithful is False:
            doubt = f", NOT FAITHFUL: relative error {self.fidelity:.1e} above {self.tolerance:.0e}"
        return f"Trace({self.layer}: {self.equations.name}, {steps} steps, {batch} sequences{direction}{doubt})"
