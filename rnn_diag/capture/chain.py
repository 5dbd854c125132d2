"""Calls of one module that go on where the last one ended, read as one sequence."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from rnn_diag.capture.call import Call
from rnn_diag.capture.noted import Identity
from rnn_diag.capture.steps import StepCall
from rnn_diag.cells.equations import State, Step
from rnn_diag.engine.sweep import Swept
from rnn_diag.engine.unroll import Unrolled
from rnn_diag.trace import Trace

AnyCall = TypeVar("AnyCall", Call, StepCall)


def chained(calls: list[AnyCall], joinable: bool = True) -> list[list[AnyCall]]:
    """Return calls grouped into sequences: a call goes on where the one whose state it was given ended."""
    chains: list[list[AnyCall]] = []
    ends: dict[Identity, list[AnyCall]] = {}
    for call in calls:
        places = _places_it_may_go_on_from(call) if joinable else []
        chain = next((ends.pop(place) for place in places if place in ends), None)
        if chain is None or chain[-1].selection.batch != call.selection.batch:
            chain = []
            chains.append(chain)
        chain.append(call)
        ends |= dict.fromkeys(call.ends, chain)
    return chains


def _places_it_may_go_on_from(call: Call | StepCall) -> list[Identity]:
    return [place for place in (call.continues_from, call.copied_from) if place is not None]


class ChainedTrace(Trace):
    """The traces of consecutive calls end to end: a decoder called for every step, an encoder and then a decoder."""

    def __init__(self, parts: list[Trace]) -> None:
        first = parts[0]
        self._parts = parts
        super().__init__(
            first.layer,
            first.equations,
            first.weights,
            torch.cat([part.inputs for part in parts]),
            State(first.initial_hidden, first.initial_cell),
            sequences=first.sequences,
            fidelity=_of_first_part,
            tolerance=first.tolerance,
        )
        self.was_frozen = first.was_frozen

    @property
    def has_gradients(self) -> bool:
        """Whether a backward pass reached any of the calls."""
        return any(part.has_gradients for part in self._parts)

    @cached_property
    def hidden(self) -> Tensor:
        """`h_t`."""
        return _joined([part.hidden for part in self._parts])

    @cached_property
    def unrolled(self) -> Unrolled:
        """What the recurrence went through, call after call."""
        parts = [part.unrolled for part in self._parts]
        steps = Step(
            _joined([part.steps.emitted for part in parts]),
            _joined_or_none([part.steps.cell for part in parts]),
            *(
                tuple(map(_joined, zip(*(getattr(part.steps, field) for part in parts), strict=True)))
                for field in ("gates", "preactivations", "kept")
            ),
        )
        cell = _joined_or_none([part.cell for part in parts])
        return Unrolled(parts[0].initial, _joined([part.hidden for part in parts]), cell, steps)

    @cached_property
    def swept(self) -> Swept:
        """The gradients of all calls; a call's last step gets as recurrent what the next call gave back to it."""
        if not self.has_gradients:
            raise self._no_gradients()
        parts = [part.swept if part.has_gradients else part.nothing_swept for part in self._parts]
        recurrent, direct = [], []
        for part, following in zip(parts, [*parts[1:], None], strict=True):
            handed = torch.zeros_like(part.hidden_grad[-1]) if following is None else following.initial.hidden
            recurrent.append(torch.cat((part.hidden_grad_recurrent[:-1], handed.unsqueeze(0))))
            last = part.hidden_grad[-1] - handed
            direct.append(torch.cat((part.hidden_grad_direct[:-1], last.unsqueeze(0))))
        return replace(
            parts[0],
            hidden_grad=_joined([part.hidden_grad for part in parts]),
            hidden_grad_recurrent=_joined(recurrent),
            hidden_grad_direct=_joined(direct),
            cell_grad=_joined_or_none([part.cell_grad for part in parts]),
            projected_grad=_joined([part.projected_grad for part in parts]),
            recurrent_grad=_joined([part.recurrent_grad for part in parts]),
        )


def parts_of(trace: Trace) -> list[Trace]:
    """Return the traces of the single calls that a trace is put together from."""
    return trace._parts if isinstance(trace, ChainedTrace) else [trace]


def _of_first_part(trace: Trace) -> tuple[float | None, str]:
    assert isinstance(trace, ChainedTrace)
    first = trace._parts[0]
    return first.fidelity, first.fidelity_reason


def _joined(parts: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    return torch.cat(tuple(parts))


def _joined_or_none(parts: list[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None
