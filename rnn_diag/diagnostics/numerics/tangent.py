"""The recurrence linearised along its own states: carries small changes a step forward and gradients a step back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.weights import Weights
from rnn_diag.diagnostics.numerics.precision import in_double, weights_in_double
from rnn_diag.diagnostics.numerics.reading_order import in_reading_order
from rnn_diag.engine.unroll import Unrolled, unroll_from_states
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class Tangent:
    """The state Jacobians of what a recurrence went through, applied without forming them, in the order of reading.

    A full state is `h`, or `(h, c)` joined, hidden first. Directions carry an axis before the batch.

    Args:
        equations: The recurrence.
        weights: Its parameters.
        unrolled: What it went through.
        differentiable: Whether what is carried forward is to be differentiated in turn, by weights and states.

    Attributes:
        steps: How many there are.
        state_size: Length of a full state.
        mask: Valid steps, in reading order; the state is held elsewhere.

    Raises:
        RuntimeError: If the recurrence's adjoint cannot be differentiated.
    """

    def __init__(
        self, equations: Equations, weights: Weights, unrolled: Unrolled, differentiable: bool = False
    ) -> None:
        self._equations, self._weights, self._unrolled = equations, weights, unrolled
        self._differentiable = differentiable
        hidden, initial = unrolled.hidden, unrolled.initial
        valid = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        self.mask: Bool[Tensor, "time batch"] = valid if unrolled.mask is None else unrolled.mask
        self.steps = len(hidden)
        self._units = initial.hidden.shape[-1]
        self.state_size = self._units + (0 if initial.cell is None else initial.cell.shape[-1])
        self._check_adjoint()

    @classmethod
    @torch.inference_mode(False)
    def of(cls, trace: Trace) -> Tangent:
        """Return the tangent of a trace, in double precision."""
        weights = weights_in_double(trace.weights).copy()
        inputs = _own(in_reading_order(trace, trace.inputs))
        hidden, cell = trace.unrolled.initial
        initial = State(_own(hidden), None if cell is None else _own(cell))
        mask = trace.mask_with(inputs).clone()
        states, between = _own(trace.unrolled.hidden), trace.unrolled.between
        between = None if between is None else between.map(_own)
        unrolled = unroll_from_states(trace.equations, weights, inputs, initial, states, mask, between)
        return cls(trace.equations, weights, unrolled)

    @torch.inference_mode(False)
    def forward(self, t: int, directions: Float[Tensor, "direction batch state"]) -> Tensor:
        """Return `∂s_t/∂s_{t-1}` times every direction.

        `backward` is linear, so that its derivative is the matrix it applies; differentiating it applies the transpose.
        """
        with torch.enable_grad():
            grads = torch.zeros_like(directions, requires_grad=True)
            (moved,) = torch.autograd.grad(
                self.backward(t, grads), grads, directions, create_graph=self._differentiable
            )
        return moved

    def backward(self, t: int, grads: Float[Tensor, "direction batch state"]) -> Tensor:
        """Return the transpose of `∂s_t/∂s_{t-1}` times every gradient."""
        passed, between = self._passed(*self._unrolled.at(t), grads), self._unrolled.between
        if between is not None and t:
            passed = passed * between.factor(t)
        return torch.where(self.mask[t].unsqueeze(-1), passed, grads)

    def to_input(self, t: int, grads: Float[Tensor, "direction batch state"]) -> Tensor:
        """Return the transpose of `∂s_t/∂x_t` times every gradient; zero at padding."""
        adjoint = self._adjoint(*self._unrolled.at(t), grads)
        assert self._unrolled.inputs is not None
        features = self._unrolled.inputs.shape[-1]
        to_input = self._equations.input_grad(adjoint.projected_grad, self._weights, features)
        return torch.where(self.mask[t].unsqueeze(-1), to_input, 0.0)

    def _adjoint(self, step: Step, before: State, grads: Tensor) -> StepAdjoint:
        hidden, cell = self._split(grads)
        emitted = hidden if self._weights.weight_hr is None else hidden @ self._weights.weight_hr
        return self._equations.adjoint(step, before, emitted, cell, self._weights)

    def _passed(self, step: Step, before: State, grads: Tensor) -> Tensor:
        """Return what a step that is not padding hands to the full state before it."""
        adjoint = self._adjoint(step, before, grads)
        passed = self._equations.previous_hidden_grad(adjoint, self._weights)
        if adjoint.previous_cell_grad is not None:
            passed = torch.cat((passed, adjoint.previous_cell_grad), dim=-1)
        return passed

    @torch.inference_mode(False)
    def _check_adjoint(self) -> None:
        r"""Raise unless :math:`u^T (J v) = (J^T u)^T v` at every step, for random `u` and `v`.

        The derivative of an adjoint that left the graph, wholly or in part, is a silent zero.
        """
        unrolled = self._unrolled
        before = State(unrolled.previous_hidden, unrolled.previous_cell)
        generator = torch.Generator().manual_seed(0)
        shape = (*self.mask.shape, self.state_size)
        u, v = (torch.randn(shape, generator=generator).to(unrolled.hidden) for _ in range(2))
        with torch.enable_grad():
            u.requires_grad_()
            transposed = self._passed(unrolled.steps, before, u)
            derivative = None
            if transposed.requires_grad:
                (derivative,) = torch.autograd.grad(transposed, u, v, retain_graph=True, allow_unused=True)
        moved = torch.zeros_like(v) if derivative is None else derivative
        difference = ((u * moved).sum(-1) - (transposed * v).sum(-1)).detach().abs()
        scale = (u * moved).detach().abs().sum(-1) + (transposed * v).detach().abs().sum(-1)
        rounding = math.sqrt(torch.finfo(v.dtype).eps)
        if bool((difference > rounding * scale).any()):
            raise RuntimeError(
                f"the adjoint of equations {self._equations.name!r} is not on the autograd graph of its arguments; "
                "expected one that can be differentiated: compute it without detach() and without no_grad()"
            )

    def _split(self, state: Tensor) -> tuple[Tensor, Tensor | None]:
        hidden = state[..., : self._units]
        return hidden, (state[..., self._units :] if self._equations.has_cell else None)


def _own(tensor: Tensor) -> Tensor:
    """Return a copy in double that autograd may keep, also of what was made in inference mode."""
    return in_double(tensor).clone()
