"""One autograd node for a whole unrolled layer: the cells' explicit equations forwards, their adjoint backwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rnn_diag.cells.equations import Equations, State, Step
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.choice import training_engine
from rnn_diag.engine.engine import Engine
from rnn_diag.engine.unroll import Unrolled, unroll

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def run_layer(
    equations: Equations,
    inputs: Float[Tensor, "time batch features"],
    initial: State,
    weights: Weights,
    mask: Bool[Tensor, "time batch"] | None = None,
) -> tuple[Float[Tensor, "time batch projected"], State]:
    """Run one layer in one direction, in processing order.

    Returns:
        The hidden states, zero at padding, and the state after the last valid step. Under autocast the products are
        taken in its dtype and the outputs have it, as with torch's layers; the states are carried in the weights'.
    """
    present = weights.present()
    dtype = weights.weight_hh.dtype
    states = [state.to(dtype) for state in initial if state is not None]
    plan = _Plan(equations, tuple(present), mask)
    results = _UnrolledLayer.apply(plan, inputs.to(dtype), *states, *present.values())  # type: ignore[no-untyped-call]
    if torch.is_autocast_enabled(inputs.device.type):
        results = [result.to(torch.get_autocast_dtype(inputs.device.type)) for result in results]
    hidden, *final = results
    return hidden, State(*final)


@dataclass(frozen=True)
class _Plan:
    """What the node needs besides tensors: equations, which weights are given, which steps are valid."""

    equations: Equations
    names: tuple[str, ...]
    mask: Tensor | None

    def parse(self, tensors: tuple[Tensor, ...]) -> tuple[Tensor, State, Weights]:
        """Return inputs, initial state and weights from the node's arguments."""
        states = 2 if self.equations.has_cell else 1
        weights = Weights.from_names(dict(zip(self.names, tensors[1 + states :], strict=True)))
        return tensors[0], State(*tensors[1 : 1 + states]), weights


class _UnrolledLayer(torch.autograd.Function):
    """No graph per step is built: the backward pass is one sweep, and one product for each weight."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs, initial, weights = plan.parse(tensors)
        engine = training_engine(plan.equations, weights, inputs)
        unrolled = engine.unroll(plan.equations, weights, inputs, initial, plan.mask, keep_preactivations=False)
        steps = unrolled.steps
        emitted = None if weights.weight_hr is None else steps.emitted
        ctx.engine, ctx.plan, ctx.arguments, ctx.gates = engine, plan, len(tensors), len(steps.gates)
        ctx.save_for_backward(*tensors, unrolled.hidden, emitted, unrolled.cell, *steps.gates, *steps.kept)
        ctx.set_materialize_grads(False)
        return _outputs(unrolled, engine.reuses_memory)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        tensors = saved[: ctx.arguments]
        if all(grad is None for grad in grads):
            return None, *(None for _ in tensors)
        if torch.is_grad_enabled():  # the result may be differentiated again
            return None, *_differentiable_backward(ctx.plan, tensors, grads, ctx.needs_input_grad[1:])
        inputs, initial, weights = ctx.plan.parse(tensors)
        unrolled = _restored(initial, ctx.plan, saved[ctx.arguments :], ctx.gates)
        return None, *_backward(ctx.engine, ctx.plan, inputs, weights, unrolled, grads, ctx.needs_input_grad[1])


def _outputs(unrolled: Unrolled, copies: bool = False) -> tuple[Tensor, ...]:
    """Return hidden states (zero at padding) and the final states, none a view of another."""
    if unrolled.mask is not None:
        hidden = unrolled.hidden * unrolled.mask.unsqueeze(-1)
    else:
        hidden = unrolled.hidden.clone() if copies else unrolled.hidden
    return hidden, *(state.clone() for state in unrolled.final if state is not None)


def _restored(initial: State, plan: _Plan, saved: tuple[Tensor, ...], gates: int) -> Unrolled:
    hidden, emitted, cell, *rest = saved
    steps = Step(hidden if emitted is None else emitted, cell, tuple(rest[:gates]), (), tuple(rest[gates:]))
    return Unrolled(initial, hidden, cell, steps, plan.mask)


def _backward(
    engine: Engine,
    plan: _Plan,
    inputs: Tensor,
    weights: Weights,
    unrolled: Unrolled,
    grads: tuple[Tensor | None, ...],
    inputs_need_grad: bool,
) -> list[Tensor | None]:
    direct = grads[0] if grads[0] is not None else torch.zeros_like(unrolled.hidden)
    if plan.mask is not None:
        direct = direct * plan.mask.unsqueeze(-1)
    final = State(*grads[1:])  # type: ignore[arg-type]
    found = engine.layer_grads(plan.equations, weights, inputs, unrolled, direct, final, inputs_need_grad)
    initial = [grad for grad in found.initial if grad is not None]
    return [found.inputs, *initial, *(found.weights[name] for name in plan.names)]


def _differentiable_backward(
    plan: _Plan, tensors: tuple[Tensor, ...], grads: tuple[Tensor | None, ...], needed: tuple[bool, ...]
) -> list[Tensor | None]:
    """Return the same gradients through the plain differentiable recurrence, for second derivatives."""
    inputs, initial, weights = plan.parse(tensors)
    unrolled = unroll(plan.equations, weights, inputs, initial, plan.mask, False)
    outputs = _outputs(unrolled)
    given = [(output, grad) for output, grad in zip(outputs, grads, strict=True) if grad is not None]
    wanted = [tensor for tensor, need in zip(tensors, needed, strict=True) if need]
    found = torch.autograd.grad(
        [output for output, _ in given], wanted, [grad for _, grad in given], create_graph=True, allow_unused=True
    )
    remaining = iter(found)
    return [next(remaining) if need else None for need in needed]
