"""Whether what a module gave comes back to it while another input is new: what makes it a recurrence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from rnn_diag.capture.graph import Edge, joins, leaf_behind
from rnn_diag.capture.leaves import Leaf, Path, arguments, as_it_is, leaves, split, written
from rnn_diag.capture.sequences import version

FAR = 256
"""Nodes of the graph behind an argument that are looked at, to know whether it was made of an earlier output."""

INSIDE = 4096
"""Nodes of one call's graph that are looked at."""

FEW = 4
"""Values other than zero that inputs of symbols or bits may have."""

Memory = tuple[int, int, torch.device]


class Sighting:
    """One call of a module that may be recurrent.

    Args:
        module: Which was called.
        args: With these.
        kwargs: And these.
        result: What it returned.
        previous: Its call before, or None.
    """

    def __init__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, previous: Sighting | None
    ) -> None:
        self.args = tuple(map(as_it_is, args))
        self.kwargs = {name: as_it_is(value) for name, value in kwargs.items()}
        self.result = as_it_is(result)
        self.whole = leaves(arguments(module, args, kwargs))
        self.given = split(self.whole)
        self.gave = {(0, *path) if isinstance(result, Tensor) else path: leaf for path, leaf in leaves(result).items()}
        every = (*self.whole.values(), *self.gave.values())
        self.versions = {memory(leaf.value): version(leaf.value) for leaf in every if leaf.value.numel()}
        passed_through = {memory(leaf.value) for leaf in self.whole.values()}
        before = {} if previous is None else previous.versions
        self.made = {
            path: leaf
            for path, leaf in self.gave.items()
            if leaf.value.numel() and not self._is_as_before(leaf, passed_through, before)
        }
        """What it gave that was not merely given to it."""

    def _is_as_before(self, leaf: Leaf, passed_through: set[Memory], before: Mapping[Memory, int]) -> bool:
        where = memory(leaf.value)
        return where in passed_through and before.get(where, self.versions[where]) == self.versions[where]

    @property
    def was_overwritten(self) -> bool:
        """Whether a tensor of this call has been written to since."""
        every = (*self.whole.values(), *self.gave.values())
        return any(self.versions[memory(one.value)] != version(one.value) for one in every if one.value.numel())


class Return(NamedTuple):
    """An output that came back as an input of a later call.

    Attributes:
        output: Where it was in the earlier result.
        argument: Where it is in the arguments.
        is_unchanged: Whether its values are as they were.
        way: The nodes of the graph between; none if it is the very tensor.
    """

    output: Path
    argument: Path
    is_unchanged: bool
    way: tuple[Node, ...] = ()

    def __str__(self) -> str:
        return f"output {written(self.output)} returns as input {written(self.argument)}"


class NewInput(NamedTuple):
    """An input that is new at a call, as a sequence's is.

    Attributes:
        argument: Where it is in the arguments.
        axis: That of its batch; None without one.
        state_axis: That of the state's.
    """

    argument: Path
    axis: int | None
    state_axis: int


class Evidence(NamedTuple):
    """What one call tells.

    Attributes:
        returns: Which outputs of earlier calls came back, in the order of the outputs.
        input: What was new, or None.
    """

    returns: tuple[Return, ...]
    input: NewInput | None


def evidence(now: Sighting, earlier: Sequence[Sighting]) -> Evidence:
    """Return what a call tells after earlier ones of the same module."""
    known = {leaf.edge: (call, path) for call in earlier for path, leaf in call.made.items() if leaf.edge is not None}
    returns: dict[Path, Return] = {}
    own: set[Path] = set()
    for argument, leaf in now.given.items():
        found, is_own = _return_of(argument, leaf, earlier, known)
        if is_own:
            own.add(argument)
        if found is not None and (held := returns.get(found.output, found)).is_unchanged <= found.is_unchanged:
            returns[found.output] = held if held.is_unchanged else found
    in_order = tuple(returns[path] for path in now.gave if path in returns and _keeps_its_form(now, returns[path]))
    if not in_order:
        return Evidence((), None)
    own -= _made_of_more(now, earlier[-1], own - {one.argument for one in in_order}, known)
    return Evidence(in_order, _new_input(now, earlier[-1], own, now.gave[in_order[0].output].value))


def _made_of_more(
    now: Sighting, before: Sighting, own: Iterable[Path], known: Mapping[Edge, tuple[Sighting, Path]]
) -> set[Path]:
    """Return which of the arguments that are made of earlier results are made of something else that is new, too."""
    return {
        path
        for path in own
        if path in before.given and _joined(now.given[path].edge, known) - _joined(before.given[path].edge, known)
    }


def _joined(start: Edge | None, known: Mapping[Edge, tuple[Sighting, Path]]) -> set[Node]:
    """Return what joins on the ways from a tensor back to earlier results, and is neither these nor a parameter."""
    ways = [way for _, way in ways_back(start, known)] if start is not None else []
    on_a_way = {node for way in ways for node in way}
    joined = set()
    for node in filter(joins, on_a_way):
        for behind, slot in node.next_functions:
            if behind is None or behind in on_a_way or (behind, slot) in known or leaf_behind(behind) is not None:
                continue
            if not ways_back((behind, slot), known):
                joined.add(behind)
    return joined


def used(returns: Sequence[Return], call: Sighting) -> tuple[Return, ...]:
    """Return those of a call's returned inputs on which anything depends that it gave; all, where no graph tells."""
    given = {leaf.edge: one for one in returns if (leaf := call.given[one.argument]).edge is not None}
    starts = [leaf.edge for leaf in call.gave.values() if leaf.edge is not None]
    reached = {given[edge] for start in starts for edge, _ in ways_back(start, given, INSIDE)}
    unknown = set(returns) - set(given.values())
    return tuple(one for one in returns if one in reached | unknown) or tuple(returns)


def _keeps_its_form(call: Sighting, one: Return) -> bool:
    """Return whether a part of a state has the shape, but for the batch, that it was given in: a cache grows."""
    given, gave = call.given[one.argument].value, call.gave[one.output].value
    return given.shape[1:] == gave.shape[1:] or given.numel() in (0, gave.numel())


def _return_of(
    argument: Path, leaf: Leaf, earlier: Sequence[Sighting], known: Mapping[Edge, tuple[Sighting, Path]]
) -> tuple[Return | None, bool]:
    """Return what an argument is of earlier results, if it has their form; and whether it is made of any."""
    if not leaf.value.numel():
        return None, False
    for call in reversed(earlier):
        same = [path for path, one in call.made.items() if memory(one.value) == memory(leaf.value)]
        if same:
            return Return(_first_made(call, same, argument), argument, True), True
    if leaf.edge is None:
        return None, False
    hits = ways_back(leaf.edge, known)
    for edge, way in hits:
        call, path = known[edge]
        returned = call.made[path].value
        if leaf.value.shape[1:] == returned.shape[1:] or leaf.value.numel() == returned.numel():
            return Return(path, argument, _same_values(leaf.value, returned), way), True
    return None, bool(hits)


def _first_made(call: Sighting, same: Sequence[Path], argument: Path) -> Path:
    """Return which of several outputs in the same memory gets all of its gradient: the one that others are views of.

    Of one tensor that was returned twice, it is the one that is given in the same form.
    """
    best = max(same, key=lambda path: _alike_at_the_end(path, argument))
    edges = {call.made[path].edge: path for path in same}
    own = call.made[best].edge
    others = {edge for edge in edges if edge is not None and edge != own}
    behind = ways_back(own, others, farthest=8) if own is not None and others else []
    return edges[behind[-1][0]] if behind else best


def ways_back(
    start: Edge, known: Iterable[Edge], farthest: int = FAR, closed: Callable[[Edge], bool] = lambda edge: False
) -> list[tuple[Edge, tuple[Node, ...]]]:
    """Return which known positions of the graph are behind one, nearest first, with the nodes on the way to each.

    Args:
        start: From where.
        known: What is looked for, and not passed.
        farthest: Nodes to look at.
        closed: Positions that are not passed, either.
    """
    known = set(known)
    found: list[tuple[Edge, tuple[Node, ...]]] = []
    came_from: dict[Node, Node | None] = {}
    waiting: list[tuple[Edge, Node | None]] = [(start, None)]
    for edge, after in waiting:
        if edge in known:
            found.append((edge, _way(after, came_from)))
        elif edge[0] not in came_from and len(came_from) < farthest and not closed(edge):
            came_from[edge[0]] = after
            waiting += [(one, edge[0]) for one in edge[0].next_functions if one[0] is not None]  # type: ignore[misc]
    return found


def _way(node: Node | None, came_from: Mapping[Node, Node | None]) -> tuple[Node, ...]:
    way = []
    while node is not None:
        way.append(node)
        node = came_from[node]
    return tuple(way)


def _new_input(now: Sighting, before: Sighting, own: set[Path], state: Tensor) -> NewInput | None:
    """Return the input of the sequence: one that has other values than before, and not the same for all sequences.

    What is the same for all is a clock: the number of a layer, a time, its embedding.
    """
    found = []
    for path, leaf in now.given.items():
        earlier = before.given.get(path)
        if path in own or earlier is None or leaf.value.dim() == 0:
            continue
        axes = _batch_axes(leaf.value, state)
        is_same = _same_values(leaf.value, earlier.value) or _same_but_for_dropout(leaf.value, earlier.value)
        if axes is not None and not is_same and _varies(leaf.value, axes[0]):
            found.append(NewInput(path, *axes))
    floating = (one for one in found if now.given[one.argument].value.is_floating_point())
    return next(floating, next(iter(found), None))


def _batch_axes(value: Tensor, state: Tensor) -> tuple[int | None, int] | None:
    """Return which axis of an input and which of a state is the batch; None where they have none in common."""
    if state.dim() <= 1:
        return (None, 0) if value.dim() == state.dim() == 1 else None
    pairs = [(a, s) for a, s in ((0, 0), (1, 1), (0, 1), (1, 0)) if a < value.dim() and s < state.dim() - 1]
    equal = [(a, s) for a, s in pairs if value.shape[a] == state.shape[s]]
    return next((pair for pair in equal if value.shape[pair[0]] > 1), next(iter(equal), None))


def _varies(value: Tensor, axis: int | None) -> bool:
    """Return whether sequences of a batch have different values; of one sequence, whether it has more than a number."""
    if axis is None or value.shape[axis] == 1:
        return value.numel() > 1 or value.dim() > 1
    return bool((value != value.narrow(axis, 0, 1)).any())


def memory(value: Tensor) -> Memory:
    """Return where a tensor's values are."""
    return value.data_ptr(), value.numel(), value.device


def _same_values(one: Tensor, other: Tensor) -> bool:
    if one.numel() != other.numel() or one.dtype != other.dtype or one.device != other.device:
        return False
    return memory(one) == memory(other) or torch.equal(one.detach().reshape(-1), other.detach().reshape(-1))


def _same_but_for_dropout(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors differ only in what is zero: one tensor that was dropped out twice.

    What has few values, such as symbols one by one or bits, differs in that alone, too, and may be another.
    """
    if one.shape != other.shape or not one.is_floating_point() or one.dtype != other.dtype:
        return False
    in_both, in_any = (one != 0) & (other != 0), (one != 0) | (other != 0)
    if bool((one != other)[in_both].any()) or 4 * int(in_both.sum()) < int(in_any.sum()):
        return False
    values = one[in_both]
    return len(values.unique()) > FEW


def _alike_at_the_end(one: Path, other: Path) -> int:
    pairs = zip(reversed(one), reversed(other), strict=False)
    return next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
