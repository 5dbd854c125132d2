"""Where the numbers of a trace come from that is put together from several calls, each of one step or of many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, final

import torch
from torch import Tensor

from rnn_diag.capture.between import Change
from rnn_diag.capture.calls import Call, StepCall
from rnn_diag.cells.equations import Equations, State, Step
from rnn_diag.engine.sweep import Swept, sweep
from rnn_diag.engine.unroll import Between, Unrolled, unroll_from_states, zero_at_padding
from rnn_diag.pending import Pending
from rnn_diag.source import NO_BACKWARD, Fidelity, in_full_precision, parts_by_name
from rnn_diag.trace import Trace

TWICE = (
    "it was differentiated with create_graph=True, to be differentiated again (a gradient penalty, a second-order "
    "method), so what reached its states is the gradient of more than one loss"
)


def why_no_gradients(calls: Sequence[Call]) -> str:
    """Return why the gradients of some calls are not known; empty where they are."""
    if any(call.differentiated_twice for call in calls):
        return TWICE
    return "" if any(call.grads for call in calls) else NO_BACKWARD


def only_others_have_gradient(calls: Sequence[Call]) -> Tensor | bool:
    """Return whether the gradients of all followed sequences are zero while others of their batch have some."""
    anywhere = [call.elsewhere for call in calls if call.elsewhere is not None]
    followed = [found for call in calls if (found := call.grads.any()) is not None]
    return torch.stack(anywhere).any() & ~torch.stack(followed).any() if anywhere else False


@final
class StepSource:
    """A cell called step by step. Autograd itself gave the total gradients; with equations, an adjoint splits them.

    Args:
        steps: The calls, each with what the model did to the state before it.
        equations: The recurrence, or None of a cell that was registered without.
        check: The self-check.
    """

    reverse = False

    def __init__(
        self,
        steps: Sequence[tuple[StepCall, Change | None]],
        equations: Equations | None,
        check: Callable[[], Pending[Fidelity]] | Fidelity,
    ) -> None:
        self._calls = [call for call, _ in steps]
        self.equations = equations
        self.weights = self._calls[0].weights
        self.inputs = torch.stack([call.inputs for call in self._calls])
        self.initial = State(*self._calls[0].initial[:2])
        self.states = {name: torch.stack([call.after[name] for call in self._calls]) for name in self._calls[0].after}
        self._check = check
        given = [torch.stack(parts) for parts in zip(*(call.initial for call in self._calls), strict=True)]
        changes = [change for _, change in steps]
        left, held = _left(self._calls), _held_back(changes, given)
        self.mask = held if left is None else left
        self._between = self._what_was_between(changes, given) if held is None else None

    def _what_was_between(self, changes: list[Change | None], given: list[Tensor]) -> Between | None:
        as_returned = all(
            torch.equal(now[1:], last[:-1]) for now, last in zip(given, self.states.values(), strict=True)
        )
        if as_returned and all(change is None for change in changes):
            return None

        def over_time(factor: Callable[[Change | None, int, Tensor], Tensor]) -> list[Tensor]:
            return [
                torch.stack([factor(c, k, v) for c, v in zip(changes, given[k], strict=True)])
                for k in range(len(given[:2]))
            ]

        is_held = any(factor is not None for change in changes if change is not None for factor in change.held)
        return Between(State(*given[:2]), State(*over_time(_passed)), State(*over_time(_held)) if is_held else None)

    @property
    def hidden(self) -> Tensor:
        """The first part of the state."""
        return next(iter(self.states.values()))

    @cached_property
    @in_full_precision
    def unrolled(self) -> Unrolled:
        """The equations, from the states that the cell had."""
        assert self.equations is not None and self.weights is not None
        arguments = (self.equations, self.weights, self.inputs, self.initial, self.hidden, self.mask, self._between)
        return unroll_from_states(*arguments)

    @property
    def returned(self) -> State:
        """The states that the calls returned."""
        return State(*list(self.states.values())[:2])

    @property
    def has_gradients(self) -> bool:
        """Whether a backward pass reached any step."""
        return not why_no_gradients(self._calls)

    @property
    def no_gradients(self) -> str:
        """Why there are none."""
        return why_no_gradients(self._calls)

    @property
    def unfollowed_have_gradient(self) -> Tensor | bool:
        """Whether only sequences that were not followed have a gradient."""
        return only_others_have_gradient(self._calls)

    @property
    def state_grads(self) -> dict[str, Tensor]:
        """Total gradient of every part of the state, from autograd; a memory's with what left through `h`."""
        if self.equations is None:
            return self._totals
        return parts_by_name(self.equations, self.swept.hidden_grad, self.swept.cell_grad)

    @cached_property
    def _totals(self) -> dict[str, Tensor]:
        return {name: torch.stack([call.grad_of(name) for call in self._calls]) for name in self._calls[0].after}

    @cached_property
    @in_full_precision
    def swept(self) -> Swept:
        """The gradients of all steps: one adjoint for all at once, since every total is known."""
        assert self.equations is not None and self.weights is not None
        hidden, *others = self._totals.values()
        cell = others[0] if self.equations.has_cell else None
        unrolled, weights = self.unrolled, self.weights
        previous = State(unrolled.previous_hidden, unrolled.previous_cell)
        emitted_grad = hidden if weights.weight_hr is None else hidden @ weights.weight_hr
        adjoint = self.equations.adjoint(unrolled.steps, previous, emitted_grad, None, weights)
        if cell is not None and adjoint.cell_grad is not None:
            inside = torch.tensor([call.hidden_is_made_of_memory for call in self._calls], device=cell.device)
            through_time = torch.where(inside.view(-1, 1, 1), cell - adjoint.cell_grad, cell)
            cell = adjoint.cell_grad + through_time
            adjoint = self.equations.adjoint(unrolled.steps, previous, emitted_grad, through_time, weights)
        back, handed = _handed_on(self.equations.previous_hidden_grad(adjoint, weights), unrolled.between)
        recurrent = torch.cat((handed[1:], torch.zeros_like(back[:1])))
        previous_cell_grad = adjoint.previous_cell_grad
        initial = State(back[0], None if previous_cell_grad is None else previous_cell_grad[0])
        return Swept(
            hidden, recurrent, cell, adjoint.projected_grad, adjoint.recurrent_grad, initial, hidden - recurrent
        )

    def sweep(self, hidden_grad_direct: Tensor, final_grad: State | None) -> Swept:
        """Run the adjoint over the equations."""
        assert self.equations is not None and self.weights is not None
        return sweep(self.equations, self.weights, self.unrolled, hidden_grad_direct, final_grad)

    def check(self) -> Pending[Fidelity]:
        """Compare with what autograd gave."""
        return self._check() if callable(self._check) else Pending.known(self._check)

    def __getstate__(self) -> dict[str, Any]:
        """Check now: a copy holds neither the recording nor the model."""
        return self.__dict__ | {"_check": self.check().here()}


@final
class JoinedSource:
    """Consecutive calls end to end: a decoder called for every step, an encoder and then a decoder.

    Where sequences of a call have ended before others, each continues right after its own last step, without a gap.

    Args:
        parts: The traces of the single calls.
        changes: What the model did to this layer's state before each call.
    """

    reverse = False
    returned: State | None = None

    def __init__(
        self, parts: Sequence[Trace], changes: Sequence[Change | None], check: Callable[[], Pending[Fidelity]]
    ) -> None:
        self.parts = parts
        self._changes = changes
        self._check: Callable[[], Pending[Fidelity]] | Fidelity = check
        first = parts[0]
        self.equations = first.equations
        self.weights = first.weights
        self.initial = State(first.initial_hidden, first.initial_cell)
        self.mask, self._order = None, None
        if any(part.source.mask is not None for part in parts):
            self.mask, self._order = _without_gaps(torch.cat([part.mask for part in parts]))
        self.inputs = self._end_to_end([part.inputs for part in parts])

    @cached_property
    def hidden(self) -> Tensor:
        """`h_t`."""
        return self._end_to_end([part.hidden for part in self.parts])

    @property
    def states(self) -> dict[str, Tensor]:
        """`h_t` and `c_t`."""
        cell = self.unrolled.cell if self.equations.has_cell else None
        return {"hidden": self.hidden} | ({} if cell is None else {"cell": cell})

    @cached_property
    def unrolled(self) -> Unrolled:
        """What the recurrence went through, call after call."""
        parts = [part.unrolled for part in self.parts]
        steps = Step(
            self._end_to_end([part.steps.emitted for part in parts]),
            self._joined([part.steps.cell for part in parts]),
            *(
                tuple(map(self._end_to_end, zip(*(getattr(part.steps, field) for part in parts), strict=True)))
                for field in ("gates", "preactivations", "kept")
            ),
        )
        hidden = self._end_to_end([part.hidden for part in parts])
        cell = self._joined([part.cell for part in parts])
        return Unrolled(parts[0].initial, hidden, cell, steps, self.mask, between=self._between(parts))

    @property
    def has_gradients(self) -> bool:
        """Whether a backward pass reached any of the calls, and all gradients are of one loss."""
        return not self.no_gradients

    @property
    def no_gradients(self) -> str:
        """Why there are none."""
        reasons = {"" if part.has_gradients else part.why_no_gradients for part in self.parts}
        return TWICE if TWICE in reasons else "" if "" in reasons else NO_BACKWARD

    @property
    def unfollowed_have_gradient(self) -> Tensor | bool:
        """Whether only sequences that were not followed have a gradient."""
        parts = [part for part in self.parts if part.has_gradients]
        seen = [one for part in parts if isinstance(one := part.source.unfollowed_have_gradient, Tensor)]
        if not seen:
            return False
        return torch.stack(seen).any() & ~torch.stack([part.hidden_grad.any() for part in parts]).any()

    @property
    def state_grads(self) -> dict[str, Tensor]:
        """The totals of all calls."""
        return parts_by_name(self.equations, self.swept.hidden_grad, self.swept.cell_grad)

    @cached_property
    def swept(self) -> Swept:
        """The gradients of all calls; a call's last step gets as recurrent what the next call gave back to it."""
        parts = [part.swept if part.has_gradients else part.nothing_swept for part in self.parts]
        recurrent, direct = [], []
        handed_back = self._handed_back([part.initial.hidden for part in parts])
        for trace, part, handed in zip(self.parts, parts, handed_back, strict=True):
            last = (trace.lengths - 1).clamp(min=0).view(1, -1, 1).expand(1, *handed.shape)
            total = part.hidden_grad.gather(0, last)
            recurrent.append(part.hidden_grad_recurrent.scatter(0, last, handed.unsqueeze(0)))
            direct.append(part.hidden_grad_direct.scatter(0, last, total - handed.unsqueeze(0)))
        return replace(
            parts[0],
            hidden_grad=self._grads_of([part.hidden_grad for part in parts]),
            hidden_grad_recurrent=self._grads_of(recurrent),
            hidden_grad_direct=self._grads_of(direct),
            cell_grad=None if parts[0].cell_grad is None else self._grads_of([part.cell_grad for part in parts]),
            projected_grad=self._grads_of([part.projected_grad for part in parts]),
            recurrent_grad=self._grads_of([part.recurrent_grad for part in parts]),
        )

    def sweep(self, hidden_grad_direct: Tensor, final_grad: State | None) -> Swept:
        """Run the adjoint over the equations of all calls."""
        return sweep(self.equations, self.weights, self.unrolled, hidden_grad_direct, final_grad)

    def check(self) -> Pending[Fidelity]:
        """Compare with what autograd gave."""
        return self._check() if callable(self._check) else Pending.known(self._check)

    def _handed_back(self, given: list[Tensor]) -> list[Tensor]:
        """Return what each call's last state gets through the next call, from the gradients of the states given."""
        handed, later = [torch.zeros_like(given[-1])], torch.zeros_like(given[-1])
        for k in reversed(range(1, len(given))):
            later = given[k] + self._held_after(k) * later
            handed.append(_passed(self._changes[k], 0, given[k]) * later)
        return handed[::-1]

    def _held_after(self, k: int) -> Tensor | float:
        return 0.0 if k + 1 == len(self.parts) else _held(self._changes[k + 1], 0, self.initial.hidden)

    def _between(self, parts: list[Unrolled]) -> Between | None:
        if all(change is None for change in self._changes):
            return None
        given = State(torch.cat([part.previous_hidden for part in parts]), _joined([p.previous_cell for p in parts]))
        passed, held = ([torch.full_like(state, value) for state in given if state is not None] for value in (1.0, 0.0))
        start = 0
        for part, change in zip(parts, self._changes, strict=True):
            for k, (factors, backs) in enumerate(zip(passed, held, strict=True)):
                factors[start], backs[start] = _passed(change, k, factors[start]), _held(change, k, backs[start])
            start += len(part.hidden)
        return Between(given, State(*passed), State(*held)).map(lambda steps: self._end_to_end([steps]))

    def _end_to_end(self, parts: Sequence[Tensor]) -> Tensor:
        steps = torch.cat(list(parts))
        if self._order is None:
            return steps
        order = self._order.view(*self._order.shape, *[1] * (steps.dim() - 2))
        return steps.gather(0, order.expand(*self._order.shape, *steps.shape[2:]))

    def _joined(self, parts: Sequence[Tensor | None]) -> Tensor | None:
        joined = _joined(parts)
        return None if joined is None else self._end_to_end([joined])

    def _grads_of(self, parts: Sequence[Tensor | None]) -> Tensor:
        grads = self._end_to_end([part for part in parts if part is not None])
        return grads if self.mask is None else zero_at_padding(grads, self.mask)

    def __getstate__(self) -> dict[str, Any]:
        """Check now: a copy holds neither the recording nor the model."""
        return self.__dict__ | {"_check": self.check().here()}


def _without_gaps(mask: Tensor) -> tuple[Tensor | None, Tensor]:
    """Return which steps are valid once those of every sequence follow each other, and which step each of them is.

    Args:
        mask: `[T, B]` valid steps, with gaps where a sequence of one call ended before others did.

    Returns:
        `[T', B]` valid steps, all of them at the front, or None when all are; and `[T', B]` their numbers among the
        `T` steps. Steps after the end of a sequence repeat its last one.
    """
    lengths = mask.sum(0)
    steps = torch.arange(int(lengths.max()), device=mask.device).unsqueeze(1)
    order = (~mask).to(torch.uint8).argsort(dim=0, stable=True).gather(0, steps.minimum((lengths - 1).clamp(min=0)))
    valid = steps < lengths
    return None if bool(valid.all()) else valid, order


def _passed(change: Change | None, part: int, like: Tensor) -> Tensor:
    """Return the derivative of what a call was given with respect to what the last returned; NaN if not known."""
    if change is not None and not change.is_known:
        return torch.full_like(like, float("nan"))
    factor = None if change is None else change.passed[part]
    return torch.ones_like(like) if factor is None else factor


def _held(change: Change | None, part: int, like: Tensor) -> Tensor:
    """Return the derivative of what a call was given with respect to what the last was given."""
    factor = None if change is None or not change.is_known else change.held[part]
    return torch.zeros_like(like) if factor is None else factor


def _left(calls: Sequence[StepCall]) -> Tensor | None:
    """Return the valid steps `[T, B]` where sequences left the batch as they ended; None where none did."""
    if all(call.present is None for call in calls):
        return None
    everyone = torch.ones(len(calls[0].inputs), dtype=torch.bool, device=calls[0].inputs.device)
    return torch.stack([everyone if call.present is None else call.present for call in calls])


def _held_back(changes: Sequence[Change | None], given: Sequence[Tensor]) -> Tensor | None:
    """Return the valid steps `[T, B]` where the model held back whole states of sequences that had ended; or None."""
    if not any(factor is not None for change in changes if change is not None for factor in change.held):
        return None
    valid = torch.ones(given[0].shape[:2], dtype=torch.bool, device=given[0].device)
    for t, change in enumerate(changes[1:]):
        for part, states in enumerate(given):
            passed, held = (of(change, part, states[t]).flatten(1) for of in (_passed, _held))
            is_valid = (passed == 1).all(1) & (held == 0).all(1)
            is_held = (passed == 0).all(1) & (held == 1).all(1)
            if not bool((is_valid | is_held).all()) or (part and not torch.equal(valid[t], is_valid)):
                return None
            valid[t] = is_valid
    valid[-1] = valid[-2]
    return valid if torch.equal(valid, valid.cummin(0).values) else None


def _handed_on(back: Tensor, between: Between | None) -> tuple[Tensor, Tensor]:
    """Return the gradient of what each step was given, and what the step before gets of it."""
    if between is None:
        return back, back
    if between.held is not None:
        given = [back[-1]]
        for t in reversed(range(len(back) - 1)):
            given.append(back[t] + between.held.hidden[t + 1] * given[-1])
        back = torch.stack(given[::-1])
    return back, back * between.passed.hidden


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None
