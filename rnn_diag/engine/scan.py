"""The engine of recurrences that are linear in their memory: all steps at once, by a scan of logarithmic depth.

`s_t = a_t ⊙ s_{t-1} + b_t` forwards, and backwards the same with the conjugate of `a_{t+1}`: only these two are over
time. Everything else that a step computes is computed for all steps at once. It is a chain of matrix-free products, so
that it is exact, and differentiable.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.product import complex_of, real_parts
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.engine import Engine, LayerGrads
from rnn_diag.engine.sweep import Swept
from rnn_diag.engine.unroll import Unrolled, held_at_padding, shifted, zero_at_padding

if TYPE_CHECKING:
    from jaxtyping import Float

CHUNK = 2**20
"""Numbers that are scanned together: what a CPU's caches hold."""


def scan(
    factors: Float[Tensor, "time *batch units"], drive: Float[Tensor, "time *batch units"], initial: Tensor
) -> Float[Tensor, "time *batch units"]:
    """Return `s_t = a_t ⊙ s_{t-1} + b_t` for all steps.

    In chunks of steps, which follow each other; within a chunk pairs of steps are joined, then pairs of pairs: as many
    rounds as the number of steps has binary digits.

    Args:
        factors: `a`, real or complex; of one step where it is the same at all.
        drive: `b`.
        initial: `s` before the first step.

    Example:
        >>> halving, ones = torch.full((4, 1), 0.5), torch.ones(4, 1)
        >>> scan(halving, ones, torch.zeros(1)).flatten().tolist()
        [1.0, 1.5, 1.75, 1.875]
    """
    steps = len(drive)
    at_once = max(1, CHUNK // max(1, drive[0].numel()))
    if steps <= at_once:
        return _scanned(factors, torch.cat((drive[:1] + factors[:1] * initial, drive[1:])))
    found, state = [], initial
    for start in range(0, steps, at_once):
        some = factors if len(factors) == 1 else factors[start : start + at_once]
        found.append(scan(some, drive[start : start + at_once], state))
        state = found[-1][-1]
    return torch.cat(found)


def _scanned(factors: Tensor, drive: Tensor) -> Tensor:
    """Return the scan from a state of zeros: odd steps from joined pairs, even ones from the odd step before."""
    steps = len(drive)
    if steps == 1:
        return drive
    constant = len(factors) == 1
    first, second = (factors, factors) if constant else (factors[: steps - steps % 2 : 2], factors[1::2])
    odd = _scanned(first * second, second * drive[: steps - steps % 2 : 2] + drive[1::2])
    later = factors if constant else factors[2::2]
    even = torch.cat((drive[:1], later * odd[: (steps - 1) // 2] + drive[2::2]))
    both = torch.stack((even[: len(odd)], odd), dim=1).flatten(0, 1)
    return both if len(even) == len(odd) else torch.cat((both, even[-1:]))


def scan_of(equations: Equations, weights: Weights) -> Scan | None:
    """Return the engine, or None of a recurrence that is not linear in its memory, or in half precision."""
    linear = type(equations).scanned is not Equations.scanned and weights.weight_hr is None
    return Scan() if linear and weights.weight_ih.dtype in (torch.float32, torch.float64) else None


class Scan(Engine):
    """The engine; see `scan_of` for where it can run."""

    reuses_memory: ClassVar[bool] = False

    def unroll(
        self,
        equations: Equations,
        weights: Weights,
        inputs: Tensor,
        initial: State,
        mask: Tensor | None = None,
        keep_preactivations: bool = True,
    ) -> Unrolled:
        """Run forwards, as `rnn_diag.engine.unroll.unroll` does."""
        return unroll_by_scan(equations, weights, inputs, initial, mask, keep_preactivations)

    def sweep(
        self,
        equations: Equations,
        weights: Weights,
        unrolled: Unrolled,
        hidden_grad_direct: Tensor,
        final_grad: State | None = None,
    ) -> Swept:
        """Run backwards, as `rnn_diag.engine.sweep.sweep` does."""
        return _Backward(equations, weights, unrolled, hidden_grad_direct, final_grad).swept()

    def layer_grads(
        self,
        equations: Equations,
        weights: Weights,
        inputs: Tensor,
        unrolled: Unrolled,
        hidden_grad_direct: Tensor,
        final_grad: State,
        inputs_need_grad: bool,
    ) -> LayerGrads:
        """Return the gradients of all that a layer was given; factors are computed from its inputs once more."""
        ran = replace(unrolled, inputs=inputs)
        return super().layer_grads(equations, weights, inputs, ran, hidden_grad_direct, final_grad, inputs_need_grad)


def unroll_by_scan(
    equations: Equations,
    weights: Weights,
    inputs: Tensor,
    initial: State,
    mask: Tensor | None = None,
    keep_preactivations: bool = True,
    hidden: Tensor | None = None,
) -> Unrolled:
    """Return what a recurrence that is linear in its memory goes through; `hidden` where its states are known."""
    if mask is not None:
        inputs = zero_at_padding(inputs, mask)
        hidden = None if hidden is None else held_at_padding(hidden, mask)
    projected = equations.projected(inputs, weights).to(weights.weight_hh.dtype)
    factors, drive = _linear(equations, weights, projected, mask)
    first = initial.hidden if initial.cell is None else initial.cell
    complex_state = factors.is_complex()
    if hidden is None or initial.cell is not None:
        memory = scan(factors, drive, complex_of(first) if complex_state else first)
        memory = real_parts(memory) if complex_state else memory
    else:
        memory = hidden
    before = shifted(first, memory)
    if initial.cell is None:
        recurrent = equations.recurrent(before, weights).to(projected.dtype)
        step = equations.step(projected, recurrent, State(before), weights)
        hidden, cell = memory, None
    else:
        given = initial.hidden.expand(len(inputs), *initial.hidden.shape)  # which no step looks at
        step = equations.step(projected, equations.recurrent(given, weights), State(given, before), weights)
        hidden = hidden if hidden is not None else _held(step.emitted, initial.hidden, mask)
        cell = memory
    kept = step.preactivations if keep_preactivations else ()
    return Unrolled(initial, hidden, cell, Step(hidden, cell, step.gates, kept, step.kept), mask, inputs)


def _linear(equations: Equations, weights: Weights, projected: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return factors and drive of all steps; a padded step holds the memory. One factor where it is constant."""
    found = equations.scanned(projected, weights)
    assert found is not None
    factors, drive = found
    if factors.dim() == 1:
        factors = factors.view(1, 1, -1)
    if mask is None:
        return factors, drive
    valid = mask.unsqueeze(-1)
    return torch.where(valid, factors, 1.0), torch.where(valid, drive, 0.0)


def _held(emitted: Tensor, initial: Tensor, mask: Tensor | None) -> Tensor:
    """Return the hidden states, held at padding; those of a sequence without a step are the initial ones."""
    if mask is None:
        return emitted
    return torch.where(mask.any(0).unsqueeze(-1), held_at_padding(emitted, mask), initial)


class _Backward:
    """One sweep: what reached each step from outside, gathered over time."""

    def __init__(
        self, equations: Equations, weights: Weights, unrolled: Unrolled, direct: Tensor, final: State | None
    ) -> None:
        self._equations, self._weights, self._unrolled, self._direct = equations, weights, unrolled, direct
        self._final = final or State(None, None)  # type: ignore[arg-type]
        self._valid = None if unrolled.mask is None else self._with_axes(unrolled.mask.unsqueeze(-1))
        self._before = State(unrolled.previous_hidden, unrolled.previous_cell)

    def swept(self) -> Swept:
        """Return the gradients of all steps."""
        return self._of_hidden() if self._unrolled.cell is None else self._of_memory()

    def _of_hidden(self) -> Swept:
        """Sweep a recurrence whose memory is the hidden state."""
        totals, carried, initial = self._gathered(self._direct, self._factors(), self._final.hidden)
        adjoint = self._adjoint(self._on_valid(totals), None)
        return Swept(
            totals, carried, None, adjoint.projected_grad, adjoint.recurrent_grad, State(initial), self._direct
        )

    def _of_memory(self) -> Swept:
        """Sweep a recurrence whose hidden state only shows the memory, and is handed on at padding alone."""
        direct = self._direct
        if self._valid is None:
            held = direct.new_zeros(1, *[1] * (direct.dim() - 1))
        else:
            held = (~self._valid).to(direct.dtype)
        totals, carried, initial = self._gathered(direct, held, self._final.hidden)
        entering = self._on_valid(totals)
        shown = self._adjoint(entering, None).cell_grad
        assert shown is not None
        _, carried_cell, initial_cell = self._gathered(shown, self._factors(), self._final.cell)
        adjoint = self._adjoint(entering, self._on_valid(carried_cell))
        return Swept(
            totals,
            carried,
            adjoint.cell_grad,
            adjoint.projected_grad,
            adjoint.recurrent_grad,
            State(initial, initial_cell),
            direct,
        )

    def _gathered(self, entering: Tensor, factors: Tensor, final: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return `g_t = entering_t + a_{t+1}* g_{t+1}`, the second summand alone, and `a_0* g_0`."""
        is_complex = factors.is_complex()
        if final is not None:
            entering = torch.cat((entering[:-1], entering[-1:] + final))
        values = (complex_of(entering) if is_complex else entering).flip(0)
        factors = factors.conj()
        backwards = factors if len(factors) == 1 else torch.cat((factors[:1], factors[1:].flip(0)))
        totals = scan(backwards, values, torch.zeros_like(values[0])).flip(0)
        through = factors * totals
        later = torch.cat((through[1:], torch.zeros_like(through[:1])))
        if is_complex:
            totals, through, later = map(real_parts, (totals, through, later))
        if final is not None:
            later = torch.cat((later[:-1], final.expand_as(later[-1:])))
        return totals, later, through[0]

    def _factors(self) -> Tensor:
        unrolled, weights = self._unrolled, self._weights
        assert unrolled.inputs is not None
        projected = self._equations.projected(unrolled.inputs, weights).to(weights.weight_hh.dtype)
        return self._with_axes(_linear(self._equations, weights, projected, unrolled.mask)[0])

    def _with_axes(self, steps: Tensor) -> Tensor:
        """Return `[T, *, B, ·]` from `[T, B, ·]`, with an axis for each that carries several gradients at once."""
        return steps.view(len(steps), *[1] * (self._direct.dim() - 3), *steps.shape[1:])

    def _on_valid(self, steps: Tensor) -> Tensor:
        return steps if self._valid is None else steps * self._valid

    def _adjoint(self, emitted_grad: Tensor, cell_grad: Tensor | None) -> StepAdjoint:
        """Return one adjoint for all steps at once."""
        steps, axes = self._unrolled.steps, self._with_axes
        step = Step(
            axes(steps.emitted),
            None if steps.cell is None else axes(steps.cell),
            tuple(map(axes, steps.gates)),
            (),
            tuple(map(axes, steps.kept)),
        )
        return self._equations.adjoint(step, self._before.map(axes), emitted_grad, cell_grad, self._weights)
