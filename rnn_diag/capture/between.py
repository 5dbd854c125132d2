"""What a model did to a state between two calls of a module: dropout, a mask, a slice; read off the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from rnn_diag.capture.graph import Edge
from rnn_diag.capture.taken_out import known_as, source_of

FARTHEST = 64
"""Nodes of the graph behind a state that are evaluated, to know what was done to it."""

FAR = 512
"""Nodes that are looked at, to know whose state it was."""

PRECISION = {torch.float64: 1e-12, torch.float32: 1e-5}
"""Largest relative difference of two derivatives that rounding explains; in half precision 2e-2."""


class Origin(NamedTuple):
    """Whose state something is: the call's number, the part of the state, and whether the call returned it."""

    call: int
    part: int
    of_result: bool


class Change(NamedTuple):
    """The derivative of the state that a call was given with respect to the one that the call before it returned.

    Attributes:
        passed: One factor for each unit of each part of the state; None where it is 1 everywhere.
        held: The same with respect to the state that the call before was given, for a model that holds a state back
            (`h = k * new + (1 - k) * h`); None where it is 0 everywhere.
        is_known: Whether every unit depends on the same unit alone, so that factors are the whole derivative.
    """

    passed: tuple[Tensor | None, ...] = ()
    held: tuple[Tensor | None, ...] = ()
    is_known: bool = True

    def read(self, form: Callable[[Tensor], Tensor]) -> Change:
        """Return the same with every factor in another form."""
        passed = tuple(None if factor is None else form(factor) for factor in self.passed)
        held = tuple(None if factor is None else form(factor) for factor in self.held)
        return Change(passed, held, self.is_known)


UNKNOWN = Change(is_known=False)
"""The state was changed, and not unit by unit."""


class Unfollowable(Exception):
    """The graph between two states has a part that cannot be evaluated without consequences, or is too large."""


def derivatives(start: Edge, known: Mapping[Edge, object], seed: Tensor) -> dict[Edge, Tensor]:
    """Return the gradient of every known tensor on the graph behind another one, for a gradient of that one.

    The nodes between are evaluated one by one, by hand: no hook runs, nothing is freed, and nothing is added to a leaf.

    Args:
        start: Where the tensor is on the graph.
        known: The positions at which to stop.
        seed: Its gradient.

    Raises:
        Unfollowable: If the graph between is larger than `FARTHEST` nodes, or holds a function of the user's own.
    """
    if start in known:
        return {start: seed}
    waiting: dict[Edge, Tensor] = {start: seed}
    found: dict[Edge, Tensor] = {}
    for node in _in_order(start[0], known):
        slots = [waiting.pop((node, slot), None) for slot in range(len(node._input_metadata))]
        grads = node(*slots)  # type: ignore[operator]
        for behind, grad in zip(node.next_functions, grads if isinstance(grads, tuple) else (grads,), strict=True):
            if grad is not None and behind[0] is not None:
                edge = source_of(behind)  # type: ignore[arg-type]
                sums = found if edge in known else waiting
                shape = edge[0]._input_metadata[edge[1]].shape
                grad = grad if grad.shape == shape else grad.sum_to_size(shape)  # as autograd does where it broadcast
                sums[edge] = sums[edge] + grad if edge in sums else grad
    return found


def reachable(start: Edge, known: Mapping[Edge, Origin]) -> set[Origin]:
    """Return where the known states behind a tensor are from, of those among its `FAR` nearest nodes."""
    if start in known:
        return {known[start]}
    return {known[edge] for edges in _behind(start[0], known, FAR).values() for edge in edges if edge in known}


def change_of(
    given: Sequence[Tensor | None], known: Mapping[Edge, Origin], call: int, starts: set[int], axis: int | None
) -> tuple[Change, Tensor | None]:
    """Return what was done to the state that a call returned until it was given to the next.

    Args:
        given: Each part of the state.
        known: The states of all earlier calls, by their position on the graph.
        call: The number of the call that is continued.
        starts: The calls that began sequences; the states that they were given belong to no call.
        axis: That of the batch, or None without one.

    Returns:
        The change, in the order of the sequences that were given; and which of those that were returned each of them
        is, or None where they are all of them, in order.

    Raises:
        Unfollowable: If the graph between cannot be evaluated, or mixes units or sequences.
    """
    passed: list[Tensor | None] = []
    held: list[Tensor | None] = []
    orders: list[Tensor | None] = []
    for part, state in enumerate(given):
        if state is None:
            return UNKNOWN, None
        edge = known_as(state)
        found = _factors(edge, known, state.detach(), axis) if edge else {}
        factors = {known[source]: factor for source, (factor, _) in found.items()}
        orders += [rows for source, (_, rows) in found.items() if known[source].call == call]
        through, back = (factors.pop(Origin(call, part, of_result), None) for of_result in (True, False))
        if any(origin.of_result or origin.call not in starts for origin in factors):
            return UNKNOWN, None  # another part of the state, or one from earlier than the call before
        zeros = torch.zeros_like(state, requires_grad=False)
        passed.append(_unless_all(1.0, zeros if through is None else through))
        held.append(_unless_all(0.0, zeros if back is None else back))
    if any(not _same_order(rows, orders[0]) for rows in orders):
        return UNKNOWN, None
    return Change(tuple(passed), tuple(held)), orders[0] if orders else None


def rows_of(state: Tensor | None, known: Mapping[Edge, Origin], call: int, axis: int) -> Tensor | None:
    """Return which of the sequences that a call returned each sequence of a state is made of, whatever became of units.

    None where one is made of several, or of none. A derivative for each binary digit of the row numbers tells.

    Args:
        state: What the next call was given.
        known: The states of all earlier calls, by their position on the graph.
        call: The number of the call that is continued.
        axis: That of the batch.

    Raises:
        Unfollowable: If the graph between cannot be evaluated.
    """
    edge = known_as(state)
    if state is None or edge is None:
        return None
    like = state.detach()
    generic, numbers = _generic(like), _numbered(like, axis).long()

    def touched(seed: Tensor) -> Tensor:
        grads = [g for source, g in derivatives(edge, known, seed).items() if known[source][::2] == (call, True)]
        return torch.stack([grad.movedim(axis, 0).flatten(1).any(1) for grad in grads]).any(0)

    used = touched(generic).nonzero().squeeze(1)
    codes = torch.zeros_like(used)
    for digit in range(like.shape[axis].bit_length()):
        codes += touched(generic * ((numbers >> digit) & 1))[used].long() << digit
    order = codes.argsort()
    expected = torch.arange(1, like.shape[axis] + 1, device=like.device)
    return used[order] if torch.equal(codes[order], expected) else None


def _generic(like: Tensor) -> Tensor:
    """Return another value for each unit of each row."""
    return (torch.arange(like.numel(), device=like.device).cos() + 1.5).view(like.shape).to(like.dtype)


def _factors(
    edge: Edge, known: Mapping[Edge, Origin], like: Tensor, axis: int | None
) -> dict[Edge, tuple[Tensor, Tensor | None]]:
    """Return the derivative by every source, unit by unit, and the row of the source that each row is from.

    Raises:
        Unfollowable: If a unit depends on others than itself: ones cannot show that; another value for
            each unit can.
    """
    ones, generic = torch.ones_like(like), _generic(like)
    factors, found = derivatives(edge, known, ones), {}
    for source, grad in derivatives(edge, known, generic).items():
        factor, rows = factors[source], None
        if grad.shape != like.shape or not _alike(grad, factor * generic):
            rows = _rows(factor, derivatives(edge, known, _numbered(like, axis))[source], like, axis)
            grad, factor = grad.index_select(axis or 0, rows), factor.index_select(axis or 0, rows)
            if not _alike(grad, factor * generic):
                raise Unfollowable("a unit of the state depends on others than itself")
        found[source] = factor, rows
    return found


def _numbered(like: Tensor, axis: int | None) -> Tensor:
    """Return the number of every row, from 1 on, in all of its units.

    Raises:
        Unfollowable: If there are no rows.
    """
    if axis is None:
        raise Unfollowable("a unit of the state depends on others than itself")
    numbers = torch.arange(1, like.shape[axis] + 1, device=like.device).to(like.dtype)
    return numbers.view(*[-1 if one == axis else 1 for one in range(like.dim())]).expand_as(like)


def _rows(factor: Tensor, numbered: Tensor, like: Tensor, axis: int | None) -> Tensor:
    """Return the row of the source that each row is from, by the derivatives with respect to ones and to row numbers.

    Raises:
        Unfollowable: If a row is from none, or from several.
    """
    assert axis is not None
    if factor.dim() != like.dim() or any(factor.shape[k] != like.shape[k] for k in range(like.dim()) if k != axis):
        raise Unfollowable("the state has another shape than the one that was returned")
    by_row, numbers = (value.movedim(axis, 0).flatten(1).double() for value in (factor, numbered))
    largest = by_row.abs().argmax(1, keepdim=True)
    scale, number = by_row.gather(1, largest).squeeze(1), numbers.gather(1, largest).squeeze(1)
    used = (scale != 0).nonzero().squeeze(1)
    targets = (number[used] / scale[used]).round().long() - 1
    rows = torch.full((like.shape[axis],), -1, device=like.device)
    if len(targets) and (int(targets.min()) < 0 or int(targets.max()) >= len(rows)):
        raise Unfollowable("a sequence continues several of those that were returned")
    rows[targets] = used
    same = torch.arange(len(rows), device=like.device)
    rows = torch.where(rows < 0, same, rows)  # reset: nothing of a row is left, and which it was does not matter
    if len(rows.unique()) < len(rows) or len(targets.unique()) < len(targets) or len(rows) > len(scale):
        raise Unfollowable("a sequence continues none of those that were returned, or several")
    return rows


def _same_order(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other or (one is not None and other is not None and torch.equal(one, other))


def _alike(one: Tensor, other: Tensor) -> bool:
    precision = PRECISION.get(one.dtype, 2e-2)
    atol = precision * float(other.abs().amax()) if other.numel() else 0.0
    return torch.allclose(one, other, rtol=precision, atol=atol, equal_nan=True)


def _unless_all(value: float, factor: Tensor) -> Tensor | None:
    return None if bool((factor == value).all()) else factor


def _behind(start: Node, known: Mapping[Edge, object], farthest: int) -> dict[Node, tuple[Edge, ...]]:
    """Return the nodes behind one up to the known positions, nearest first, each with the positions behind it."""
    edges: dict[Node, tuple[Edge, ...]] = {}
    waiting = [start]
    for node in waiting:
        if node in edges:
            continue
        if len(edges) == farthest:
            break
        edges[node] = tuple(source_of(edge) for edge in node.next_functions if edge[0] is not None)  # type: ignore[arg-type]
        waiting += [edge[0] for edge in edges[node] if edge not in known]
    return edges


def _in_order(start: Node, known: Mapping[Edge, object]) -> list[Node]:
    """Return the nodes on paths from one to known positions, each before those behind it."""
    edges = _behind(start, known, FARTHEST)
    useful: set[Node] = set()
    grew = True
    while grew:
        more = {n for n, behind in edges.items() if any(e in known or e[0] in useful for e in behind)} - useful
        grew, useful = bool(more), useful | more
    if any(edge not in known and edge[0] not in edges for node in useful for edge in edges[node]):
        raise Unfollowable(f"more than {FARTHEST} nodes lie between")
    if any(isinstance(node, BackwardCFunction) for node in useful):
        raise Unfollowable("a function of the user's own lies between")
    inward = {node: 0 for node in useful}
    for node in useful:
        for edge in edges[node]:
            if edge not in known and edge[0] in inward:
                inward[edge[0]] += 1
    ready, order = [node for node in useful if not inward[node]], []
    while ready:
        node = ready.pop()
        order.append(node)
        for edge in edges[node]:
            if edge not in known and edge[0] in inward:
                inward[edge[0]] -= 1
                if not inward[edge[0]]:
                    ready.append(edge[0])
    return order
