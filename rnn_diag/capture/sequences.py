"""Which call continues which: by the very state that it was given, a copy of it, or one that the model changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from rnn_diag.capture.between import UNKNOWN, Change, Origin, Unfollowable, change_of, reachable
from rnn_diag.capture.graph import Edge, edge_of

Identity = tuple[tuple[int, int, int, bool], ...]
"""What a state is recognised by: where in memory, its size, how often it was written to, whether it is on a graph."""


class Link(NamedTuple):
    """A returned state that a call may continue from, and what the model did to it in between, if anything."""

    end: Identity
    change: Change | None = None

    def read(self, form: Callable[[Tensor], Tensor]) -> Link:
        """Return the same with the factors of the change in another form."""
        return self if self.change is None else Link(self.end, self.change.read(form))


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
        self._identities: set[Identity] = set()
        self._starts: set[int] = set()

    def add(self, before: Sequence[Tensor | None], after: Sequence[Tensor]) -> Link | None:
        """Remember a call; return which earlier one it continues, if the graph shows one."""
        is_as_returned = identity(state for state in before if state is not None) in self._identities
        link = None if is_as_returned else self._link(before)
        number = len(self._ends)
        if link is None and not is_as_returned:
            self._starts.add(number)
        for states, of_result in ((after, True), (before, False)):
            for part, state in enumerate(states):
                if (edge := edge_of(state)) is not None:
                    self._known.setdefault(edge, Origin(number, part, of_result))
        self._ends.append((identity(after), [state.detach() for state in after]))
        self._identities.add(self._ends[-1][0])
        return link

    def _link(self, before: Sequence[Tensor | None]) -> Link | None:
        edges = [edge for edge in map(edge_of, before) if edge is not None]
        origins = {origin for edge in edges for origin in reachable(edge, self._known) if origin.of_result}
        if not origins:
            return None
        latest = max(origin.call for origin in origins)
        end, returned = self._ends[latest]
        try:
            change = UNKNOWN if _packs_graph() else change_of(before, self._known, latest, self._starts)
        except (Unfollowable, RuntimeError):  # autograd refuses what was written to since
            change = UNKNOWN
        unchanged = change.is_known and not any(f is not None for f in (*change.passed, *change.held))
        return Link(end, None if unchanged and all(map(_same, before, returned)) else change)


def sequences_of(calls: Sequence[AnyCall], joinable: bool = True) -> list[list[tuple[AnyCall, Change | None]]]:
    """Group calls into sequences: a call that received the state an earlier call returned continues its sequence.

    Each call comes with what the model did to the state in between, or None.
    """
    chains: list[list[tuple[AnyCall, Change | None]]] = []
    ends: dict[Identity, list[tuple[AnyCall, Change | None]]] = {}
    for call in calls:
        links = call.continues if joinable else []
        link = next((link for link in links if link.end in ends), None)
        chain = [] if link is None else ends.pop(link.end)
        if not chain or chain[-1][0].batch != call.batch:
            chain, link = [], None
            chains.append(chain)
        chain.append((call, None if link is None else link.change))
        ends |= dict.fromkeys(call.ends, chain)
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
