"""Which call continues which: by the very state that it was given, a copy or a part of it, or one that was changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from rnn_diag.capture.between import UNKNOWN, Change, Origin, Unfollowable, change_of, reachable, rows_of
from rnn_diag.capture.graph import Edge
from rnn_diag.capture.taken_out import known_as

Identity = tuple[tuple[int, int, int, bool], ...]
"""What a state is recognised by: where in memory, its size, how often it was written to, whether it is on a graph."""


class Link(NamedTuple):
    """A returned state that a call may continue from.

    Attributes:
        end: What it is recognised by.
        change: What the model did to it in between, if anything.
        rows: Which of its sequences each sequence of the call is; None where they are all of them, in order.
        joins: What other returned states are recognised by that the call was given a part of.
        mixes: Whether one sequence was given what several returned, or several what one returned.
    """

    end: Identity
    change: Change | None = None
    rows: Tensor | None = None
    joins: tuple[Identity, ...] = ()
    mixes: bool = False

    def read(self, form: Callable[[Tensor], Tensor]) -> Link:
        """Return the same with the factors of the change in another form."""
        return self if self.change is None else self._replace(change=self.change.read(form))


class Rows(NamedTuple):
    """Which sequences are left of the batch that a sequence of calls began with.

    Attributes:
        numbers: Of each of the call's sequences, in that batch.
        of: How many that batch had.
    """

    numbers: Tensor
    of: int


class Linked(Protocol):
    """What is asked of a call here."""

    had_grad: bool
    is_second_pass: bool
    inputs: Tensor
    initial: tuple[Tensor, ...]
    ends: list[Identity]
    continues: list[Link]

    @property
    def batch(self) -> int:
        """Sequences of the batch."""


AnyCall = TypeVar("AnyCall", bound=Linked)


def identity(states: Iterable[Tensor]) -> Identity:
    """Return what a state is recognised by: a view of it is the same memory, a detached one cuts the sequence."""
    return tuple((state.data_ptr(), state.numel(), version(state), state.requires_grad) for state in states)


def version(value: Tensor) -> int:
    """Return how often a tensor was written to; inference tensors do not count."""
    return -1 if value.is_inference() else value._version


class Lineage:
    """The states that a module's calls were given and returned, by their place on the graph."""

    def __init__(self) -> None:
        self._known: dict[Edge, Origin] = {}
        self._ends: list[tuple[Identity, list[Tensor]]] = []
        self._calls: dict[Identity, int] = {}
        self._rows: list[Rows | None] = []
        self._starts: set[int] = set()

    def add(
        self, before: Sequence[Tensor | None], after: Sequence[Tensor], axis: int | None
    ) -> tuple[Link | None, Rows | None]:
        """Remember a call.

        Args:
            before: Each part of the state that it was given.
            after: Each part of the state that it returned.
            axis: That of the batch, or None without one.

        Returns:
            Which earlier call it continues, if it was given another tensor than that one returned and the graph shows
            where it is from; and which sequences are left of those that the first one had, unless all are, in order.
        """
        earlier = self._calls.get(identity(state for state in before if state is not None))
        link, latest = (None, earlier) if earlier is not None else self._link(before, axis)
        number = len(self._ends)
        if latest is None:
            self._starts.add(number)
        rows = None if latest is None or axis is None else self._left(latest, link, after[0].shape[axis], axis)
        self._rows.append(rows)
        for states, of_result in ((after, True), (before, False)):
            for part, state in enumerate(states):
                if (edge := known_as(state)) is not None:
                    self._known.setdefault(edge, Origin(number, part, of_result))
        self._ends.append((identity(after), [state.detach() for state in after]))
        self._calls[self._ends[-1][0]] = number
        return link, rows

    def _link(self, before: Sequence[Tensor | None], axis: int | None) -> tuple[Link | None, int | None]:
        """Return which earlier call the graph says is continued, and its number."""
        edges = [edge for edge in map(known_as, before) if edge is not None]
        origins = {origin for edge in edges for origin in reachable(edge, self._known) if origin.of_result}
        if not origins:
            return None, None
        latest, *others = sorted({origin.call for origin in origins}, reverse=True)
        end, returned = self._ends[latest]
        change, rows, mixes = UNKNOWN, None, False
        with suppress(Unfollowable, RuntimeError):  # autograd refuses what was written to since
            if not _packs_graph():
                change, rows = change_of(before, self._known, latest, self._starts, axis)
        if not change.is_known and axis is not None and before[0] is not None and known_as(before[0]) is not None:
            with suppress(Unfollowable, RuntimeError):
                if not _packs_graph():
                    rows = rows_of(before[0], self._known, latest, axis)
                    mixes = rows is None
        if rows is not None and torch.equal(rows, torch.arange(returned[0].shape[axis or 0], device=rows.device)):
            rows = None
        if rows is not None:
            returned = [state.index_select(axis or 0, rows) for state in returned]
        unchanged = change.is_known and not any(f is not None for f in (*change.passed, *change.held))
        joins = () if change.is_known else tuple(self._ends[call][0] for call in others)
        passed_on = None if unchanged and all(map(_same, before, returned)) else change
        return Link(end, passed_on, rows, joins, mixes), latest

    def _left(self, latest: int, link: Link | None, batch: int, axis: int) -> Rows | None:
        """Return which sequences are left of those that a call, or those before it, began with."""
        earlier, before = self._rows[latest], self._ends[latest][1][0].shape[axis]
        if link is None or link.rows is None:
            return earlier if batch == before else None
        return Rows(link.rows, before) if earlier is None else Rows(earlier.numbers[link.rows], earlier.of)


@dataclass
class Chain(Generic[AnyCall]):
    """Calls each of which continues the one before.

    Attributes:
        calls: The calls, each with what the model did to the state before it, or None.
        is_piece: Whether the state came from an earlier chain, or went on into a later one, in a way that is not
            followed: several calls continue the same one, one continues several, or with other sequences than those
            that were returned.
    """

    calls: list[tuple[AnyCall, Change | None]]
    is_piece: bool = False


def sequences_of(calls: Sequence[AnyCall], joinable: bool = True) -> list[Chain[AnyCall]]:
    """Group calls into sequences: a call that received the state an earlier call returned continues its sequence."""
    chains: list[Chain[AnyCall]] = []
    owners: dict[Identity, Chain[AnyCall]] = {}
    ends: dict[Identity, Chain[AnyCall]] = {}
    continued: set[Identity] = set()
    for call in calls:
        links = call.continues if joinable else []
        link = next((link for link in links if link.end in ends), None)
        chain = None if link is None else ends.pop(link.end)
        if chain is None or link is None or (link.rows is None and chain.calls[-1][0].batch != call.batch):
            is_piece = chain is not None or any(link.end in continued for link in links)
            if chain is not None:
                chain.is_piece = True
            chain, link = Chain([], is_piece), None
            chains.append(chain)
        chain.calls.append((call, None if link is None else link.change))
        joined = [owners[end] for link in links for end in link.joins if end in owners]
        if joined or any(link.mixes for link in links):
            for one in (chain, *joined):
                one.is_piece = True
        ends |= dict.fromkeys(call.ends, chain)
        owners |= dict.fromkeys(call.ends, chain)
        continued |= set(call.ends)
    return chains


def in_backward() -> bool:
    """Whether autograd is running: a call made then is a checkpoint's second pass."""
    return bool(torch._C._current_graph_task_id() != -1)


def index_of_first_pass(again: Linked, calls: Sequence[Linked]) -> int | None:
    """Return the index of the call that is run again, or None where the first pass is the one that gradients reach.

    A reentrant checkpoint builds no graph in its first pass, and gradients reach the second one; the other kind
    builds one, and only fills in what it did not keep.
    """
    waiting = [index for index, call in enumerate(calls) if not call.had_grad]
    if any(call.had_grad and not call.is_second_pass and _repeats(call, again) for call in calls if waiting):
        return None
    exactly = next((index for index in reversed(waiting) if _repeats(calls[index], again)), None)  # as autograd goes
    if exactly is not None:
        return exactly
    # Dropout may have drawn something else the second time.
    alike = [index for index in waiting if calls[index].inputs.shape == again.inputs.shape]
    return alike[-1] if alike else None


def _repeats(first: Linked, second: Linked) -> bool:
    pairs = zip((first.inputs, *first.initial), (second.inputs, *second.initial), strict=True)
    return all(one.shape == other.shape and torch.equal(one, other) for one, other in pairs)


def _same(given: Tensor | None, returned: Tensor) -> bool:
    if given is None or given.numel() != returned.numel() or given.device != returned.device:
        return False
    return torch.equal(given.detach().reshape(-1), returned.reshape(-1).to(given.dtype))


def _packs_graph() -> bool:
    """Whether what the graph keeps is packed away, as a checkpoint does: reading it would run the model again."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None
