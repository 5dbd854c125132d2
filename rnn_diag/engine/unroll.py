"""A recurrence forwards over time: all input products in one matrix product, then step after step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnn_diag.cells.equations import Equations, State, Step
from rnn_diag.cells.weights import Weights

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass(frozen=True)
class Between:
    """What was done to the state between steps: dropout, a mask, a normalisation, in the model and not in the layer.

    Attributes:
        given: The state that each step started from, `[T, B, ·]`.
        passed: Its derivative with respect to what the step before returned, one factor for each unit; NaN where that
            is not known.
        held: Its derivative with respect to what the step before was given, or None where it is 0.
    """

    given: State
    passed: State
    held: State | None = None

    def map(self, form: Callable[[Tensor], Tensor]) -> Between:
        """Return the same with every tensor in another form."""
        held = None if self.held is None else self.held.map(form)
        return Between(self.given.map(form), self.passed.map(form), held)

    def factor(self, t: int) -> Float[Tensor, "batch state"]:
        """Return the derivative of the full state that step `t` was given by the one that the step before returned.

        It is diagonal. NaN where it is not known, or the state that the step before was given counts, too.
        """
        passed = self.passed.at(t).joined()
        return passed if self.held is None else passed.masked_fill(self.held.at(t).joined() != 0, float("nan"))


@dataclass(frozen=True)
class Unrolled:
    """What a layer went through in one direction, in processing order.

    At a padded step the state is held: `hidden` and `cell` repeat the last valid one.

    Attributes:
        initial: The state before the first step.
        hidden: `[T, B, P]`.
        cell: `[T, B, H]` or None.
        steps: The elementwise quantities of all steps, each `[T, B, H]`.
        mask: `[T, B]` valid steps, or None when all are.
        inputs: `[T, B, I]` what it was fed, or None where nobody will ask.
        between: What was done to the state between steps, or None where each started from what the last returned.
    """

    initial: State
    hidden: Float[Tensor, "time batch projected"]
    cell: Float[Tensor, "time batch hidden"] | None
    steps: Step
    mask: Bool[Tensor, "time batch"] | None = None
    inputs: Float[Tensor, "time batch features"] | None = None
    between: Between | None = None

    @property
    def previous_hidden(self) -> Float[Tensor, "time batch projected"]:
        """`h_{t-1}` for every step, as it was given to the step."""
        return self.between.given.hidden if self.between is not None else shifted(self.initial.hidden, self.hidden)

    @property
    def previous_cell(self) -> Float[Tensor, "time batch hidden"] | None:
        """`c_{t-1}` for every step, as it was given to the step."""
        if self.between is not None:
            return self.between.given.cell
        return None if self.cell is None or self.initial.cell is None else shifted(self.initial.cell, self.cell)

    @property
    def final(self) -> State:
        """The state after the last valid step of every sequence."""
        return State(self.hidden[-1], None if self.cell is None else self.cell[-1])

    def part(self, start: int, end: int) -> Unrolled:
        """Return some of the steps, with the state that they started from.

        Raises:
            ValueError: If something was done to the state between steps.
        """
        if self.between is not None:
            raise ValueError("the state was changed between steps; expected one that steps hand on as it is")
        steps = self.steps

        def some(over_time: Tensor) -> Tensor:
            return over_time[start:end]

        def of_each(values: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(map(some, values))

        cell = None if steps.cell is None else some(steps.cell)
        return Unrolled(
            self.at(start)[1],
            some(self.hidden),
            None if self.cell is None else some(self.cell),
            Step(some(steps.emitted), cell, of_each(steps.gates), of_each(steps.preactivations), of_each(steps.kept)),
            None if self.mask is None else some(self.mask),
            None if self.inputs is None else some(self.inputs),
        )

    def at(self, t: int) -> tuple[Step, State]:
        """Return step `t` and the state that it started from."""
        steps = self.steps
        step = Step(
            steps.emitted[t],
            None if steps.cell is None else steps.cell[t],
            tuple(gate[t] for gate in steps.gates),
            tuple(preactivation[t] for preactivation in steps.preactivations),
            tuple(kept[t] for kept in steps.kept),
        )
        if t == 0:
            return step, self.initial
        if self.between is not None:
            return step, self.between.given.at(t)
        return step, State(self.hidden[t - 1], None if self.cell is None else self.cell[t - 1])


def unroll(
    equations: Equations,
    weights: Weights,
    inputs: Float[Tensor, "time batch features"],
    initial: State,
    mask: Bool[Tensor, "time batch"] | None = None,
    keep_preactivations: bool = True,
) -> Unrolled:
    """Run a recurrence over time.

    Args:
        equations: The recurrence.
        weights: Its parameters.
        inputs: What the layer is fed, in processing order.
        initial: The state before the first step.
        mask: Valid steps, or None; where it is False the state is held.
        keep_preactivations: Training has no use for them.
    """
    if mask is not None:
        inputs = zero_at_padding(inputs, mask)
    dtype = weights.weight_hh.dtype  # autocast may take a product in half precision; the sum continues in full
    projected = equations.projected(inputs, weights).to(dtype)
    state, steps, states = initial, [], []
    for t in range(len(projected)):
        recurrent = equations.recurrent(state.hidden, weights).to(dtype)
        step = equations.step(projected[t], recurrent, state, weights)
        new = State(weights.project(step.emitted), step.cell)
        state = new if mask is None else new.where(mask[t].unsqueeze(-1), held=state)
        steps.append(step if keep_preactivations else step._replace(preactivations=()))
        states.append(state)
    hidden = torch.stack([state.hidden for state in states])
    cell = torch.stack([s.cell for s in states if s.cell is not None]) if equations.has_cell else None
    emitted = hidden if weights.weight_hr is None else torch.stack([step.emitted for step in steps])
    return Unrolled(initial, hidden, cell, _stacked(steps, emitted, cell), mask, inputs)


def unroll_from_states(
    equations: Equations,
    weights: Weights,
    inputs: Float[Tensor, "time batch features"],
    initial: State,
    hidden: Float[Tensor, "time batch projected"],
    mask: Bool[Tensor, "time batch"] | None = None,
    between: Between | None = None,
) -> Unrolled:
    """Return what a recurrence went through, from the hidden states that it is known to have had.

    Both products are taken for all steps at once; a recurrence without a memory cell needs no loop at all.
    """
    if mask is not None:
        inputs, hidden = zero_at_padding(inputs, mask), held_at_padding(hidden, mask)
    from rnn_diag.engine.scan import scan_of, unroll_by_scan  # written on top of what this file holds

    if between is None and equations.has_cell and scan_of(equations, weights):
        return unroll_by_scan(equations, weights, inputs, initial, mask, hidden=hidden)
    previous_hidden = shifted(initial.hidden, hidden) if between is None else between.given.hidden
    projected = equations.projected(inputs, weights).to(weights.weight_hh.dtype)
    recurrent = equations.recurrent(previous_hidden, weights).to(weights.weight_hh.dtype)
    if between is None and not (projected.requires_grad or recurrent.requires_grad):
        from rnn_diag.engine.in_bulk import steps_in_bulk  # written from the equations, as are the kernels below

        found = steps_in_bulk(equations, weights, initial, (projected, recurrent, previous_hidden), mask)
        if found is not None:
            return Unrolled(initial, hidden, found[1], found[0], mask, inputs)
    if not equations.has_cell:
        step = equations.step(projected, recurrent, State(previous_hidden), weights)
        return Unrolled(initial, hidden, None, step, mask, inputs, between)
    if inputs.is_cuda and between is None and not (projected.requires_grad or recurrent.requires_grad):
        from rnn_diag.engine.fused import statements_of, steps_from_states  # a loop would wait for launches

        if (known := statements_of(equations, weights)) is not None:
            products = projected, recurrent, previous_hidden
            return steps_from_states(known, weights, inputs, initial, hidden, mask, products)
    state, steps, cells = initial, [], []
    for t in range(len(projected)):
        before = State(previous_hidden[t], state.cell) if between is None else between.given.at(t)
        step = equations.step(projected[t], recurrent[t], before, weights)
        new = State(hidden[t], step.cell)
        state = new if mask is None else new.where(mask[t].unsqueeze(-1), held=before)
        assert state.cell is not None
        steps.append(step)
        cells.append(state.cell)
    cell = torch.stack(cells)
    emitted = torch.stack([step.emitted for step in steps])
    return Unrolled(initial, hidden, cell, _stacked(steps, emitted, cell), mask, inputs, between)


def back_to_front(
    steps: Float[Tensor, "time *others"], mask: Bool[Tensor, "time batch"] | None
) -> Float[Tensor, "time *others"]:
    """Return every sequence reversed within its length, padding left at the end; the batch is the axis before last."""
    if mask is None:
        return steps.flip(0)
    order = torch.arange(len(steps), device=steps.device).unsqueeze(1).expand_as(mask)
    order = torch.where(mask, mask.sum(0) - 1 - order, order)
    between = [1] * (steps.dim() - 3)
    return steps.gather(0, order.view(len(steps), *between, -1, 1).expand_as(steps))


def zero_at_padding(steps: Tensor, mask: Tensor) -> Tensor:
    """Return steps with zeros where the mask is False."""
    return steps.masked_fill(~mask.unsqueeze(-1), 0.0)


def held_at_padding(steps: Tensor, mask: Tensor) -> Tensor:
    """Return steps with each sequence's last valid one repeated where the mask is False."""
    last = (mask.sum(0) - 1).clamp(min=0)
    order = torch.arange(len(steps), device=steps.device).unsqueeze(1).minimum(last)
    return steps.gather(0, order.unsqueeze(-1).expand_as(steps))


def shifted(first: Tensor, rest: Tensor) -> Tensor:
    """Return what every step started from: `first`, then the steps but the last."""
    return torch.cat((first.unsqueeze(0), rest[:-1]))


def _stacked(steps: list[Step], emitted: Tensor, cell: Tensor | None) -> Step:
    def over_time(by_step: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        return tuple(torch.stack(tensors) for tensors in zip(*by_step, strict=True))

    return Step(
        emitted,
        cell,
        gates=over_time(step.gates for step in steps),
        preactivations=over_time(step.preactivations for step in steps),
        kept=over_time(step.kept for step in steps),
    )
