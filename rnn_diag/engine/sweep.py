"""A recurrence backwards over time: from direct gradients on the outputs to the total gradient at every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnn_diag.cells.equations import Equations, State, StepAdjoint
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.unroll import Between, Unrolled

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Swept:
    """The gradients that one sweep found, in processing order; axes beyond `[T, B, ·]` are those of the request.

    Attributes:
        hidden_grad: `[T, *, B, P]` total gradient of every hidden state.
        hidden_grad_recurrent: `[T, *, B, P]` the part of it that came through the next step.
        cell_grad: `[T, *, B, H]` total gradient of every memory cell, or None.
        projected_grad: `[T, *, B, G*H]` pre-activation gradient (of the input product).
        recurrent_grad: `[T, *, B, G*H]` gradient of the recurrent product; differs from the former in a GRU only.
        initial: Gradient of the initial state.
        hidden_grad_direct: `[T, *, B, P]` the part of `hidden_grad` that came through the output of the step itself.
    """

    hidden_grad: Tensor
    hidden_grad_recurrent: Tensor
    cell_grad: Tensor | None
    projected_grad: Tensor
    recurrent_grad: Tensor
    initial: State
    hidden_grad_direct: Tensor

    def first(self) -> Swept:
        """Return the first of several gradients that one sweep carried, in memory of its own."""

        def first_of(steps: Tensor) -> Tensor:
            return steps[:, 0].clone()

        projected_grad = first_of(self.projected_grad)
        same = self.recurrent_grad is self.projected_grad
        return Swept(
            hidden_grad=first_of(self.hidden_grad),
            hidden_grad_recurrent=first_of(self.hidden_grad_recurrent),
            cell_grad=None if self.cell_grad is None else first_of(self.cell_grad),
            projected_grad=projected_grad,
            recurrent_grad=projected_grad if same else first_of(self.recurrent_grad),
            initial=State(*(grad[0].clone() for grad in self.initial if grad is not None)),
            hidden_grad_direct=first_of(self.hidden_grad_direct),
        )


Sweeper = Callable[[Equations, Weights, Unrolled, Tensor, State | None], Swept]
"""An engine: what `sweep` does, by whatever means."""


def sweep(
    equations: Equations,
    weights: Weights,
    unrolled: Unrolled,
    hidden_grad_direct: Tensor,
    final_grad: State | None = None,
) -> Swept:
    """Run the adjoint of a recurrence backwards over time.

    Args:
        equations: The recurrence.
        weights: Its parameters.
        unrolled: What it went through.
        hidden_grad_direct: `[T, *, B, P]` gradient that reaches every hidden state through the output of its own step.
            Further axes before the batch carry several gradients at once: targets, directions, probes.
        final_grad: Gradient of the state after the last valid step, beyond what `hidden_grad_direct` holds, or None.
    """
    carried = _after_last_step(unrolled, hidden_grad_direct, final_grad)
    between, later = unrolled.between, None
    totals, recurrents, adjoints = [], [], []
    for t in reversed(range(len(hidden_grad_direct))):
        recurrents.append(carried.hidden)
        totals.append(hidden_grad_direct[t] + carried.hidden)
        adjoint, given = _step_back(equations, weights, unrolled, t, State(totals[-1], carried.cell))
        later = given if between is None else _with_what_was_held(between, t, given, later)
        carried = later if between is None or t == 0 else _scaled(later, between.passed.at(t))
        adjoints.append(adjoint)
    cell_grads = [adjoint.cell_grad for adjoint in adjoints if adjoint.cell_grad is not None]
    projected_grad = _in_time_order([adjoint.projected_grad for adjoint in adjoints])
    same = adjoints[0].recurrent_grad is adjoints[0].projected_grad
    return Swept(
        hidden_grad=_in_time_order(totals),
        hidden_grad_recurrent=_in_time_order(recurrents),
        cell_grad=_in_time_order(cell_grads) if cell_grads else None,
        projected_grad=projected_grad,
        recurrent_grad=projected_grad if same else _in_time_order([adjoint.recurrent_grad for adjoint in adjoints]),
        initial=carried,
        hidden_grad_direct=hidden_grad_direct,
    )


def _after_last_step(unrolled: Unrolled, direct: Tensor, final_grad: State | None) -> State:
    hidden, cell = final_grad or (None, None)
    if hidden is None:
        hidden = torch.zeros_like(direct[0])
    if cell is None and unrolled.cell is not None:
        cell = torch.zeros_like(unrolled.cell[0])
    return State(hidden, cell)


def _step_back(
    equations: Equations, weights: Weights, unrolled: Unrolled, t: int, total: State
) -> tuple[StepAdjoint, State]:
    """Return one step's adjoint and the gradient of the state before it; a held step hands its gradient on as it is."""
    step, before = unrolled.at(t)
    valid = None if unrolled.mask is None else unrolled.mask[t].unsqueeze(-1)
    entering = total if valid is None else State(*(grad * valid for grad in total if grad is not None))
    emitted_grad = entering.hidden if weights.weight_hr is None else entering.hidden @ weights.weight_hr
    adjoint = equations.adjoint(step, before, emitted_grad, entering.cell, weights)
    passed = State(equations.previous_hidden_grad(adjoint, weights), adjoint.previous_cell_grad)
    return adjoint, passed if valid is None else passed.where(valid, held=total)


def _with_what_was_held(between: Between, t: int, given: State, later: State | None) -> State:
    """Return the gradient of what step `t` was given, with what the model held back of it until the next step."""
    if between.held is None or later is None:
        return given
    held = _scaled(later, between.held.at(t + 1))
    cell = given.cell if given.cell is None or held.cell is None else given.cell + held.cell
    return State(given.hidden + held.hidden, cell)


def _scaled(grad: State, factor: State) -> State:
    cell = None if grad.cell is None or factor.cell is None else grad.cell * factor.cell
    return State(grad.hidden * factor.hidden, cell)


def weight_grads(
    equations: Equations,
    weights: Weights,
    inputs: Float[Tensor, "time batch features"],
    unrolled: Unrolled,
    swept: Swept,
) -> dict[str, Tensor]:
    r"""Return the gradient of every parameter, from all steps at once: :math:`∂L/∂W = Σ_t δ_t h_{t-1}^T`."""
    enters, feeds_back = equations.input_product, equations.recurrent_product
    grads = {
        "weight_ih": enters.weight_grad(swept.projected_grad, equations.features(inputs, weights), weights.weight_ih),
        "weight_hh": feeds_back.weight_grad(swept.recurrent_grad, unrolled.previous_hidden, weights.weight_hh),
    }
    if weights.bias_ih is not None:
        grads["bias_ih"] = enters.bias_grad(swept.projected_grad)
    if weights.bias_hh is not None:
        grads["bias_hh"] = feeds_back.bias_grad(swept.recurrent_grad)
    entering = swept.hidden_grad if unrolled.mask is None else swept.hidden_grad * unrolled.mask.unsqueeze(-1)
    if weights.weight_hr is not None:
        grads["weight_hr"] = entering.flatten(0, 1).T @ unrolled.steps.emitted.flatten(0, 1)
    if weights.extra:
        previous = State(unrolled.previous_hidden, unrolled.previous_cell)
        adjoint = StepAdjoint(swept.projected_grad, swept.recurrent_grad, swept.cell_grad)
        emitted_grad = entering if weights.weight_hr is None else entering @ weights.weight_hr
        grads |= equations.extra_weight_grads(unrolled.steps, previous, adjoint, emitted_grad, weights)
    return grads


def _in_time_order(backwards: list[Tensor]) -> Tensor:
    return torch.stack(backwards[::-1])
