"""What a model did to a state between two calls of a module: dropout, a mask, a normalisation; read off the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from rnn_diag.capture.graph import Edge, edge_of

FARTHEST = 64
"""Nodes of the graph that are looked at behind a state."""

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
        for edge, grad in zip(node.next_functions, grads if isinstance(grads, tuple) else (grads,), strict=True):
            if grad is not None and edge[0] is not None:
                sums = found if edge in known else waiting
                sums[edge] = sums[edge] + grad if edge in sums else grad  # type: ignore[index]
    return found


def reachable(start: Edge, known: Mapping[Edge, Origin]) -> set[Origin]:
    """Return where the known states behind a tensor are from, of those among its `FARTHEST` nearest nodes."""
    if start in known:
        return {known[start]}
    return {known[edge] for edges in _behind(start[0], known).values() for edge in edges if edge in known}


def change_of(given: Sequence[Tensor | None], known: Mapping[Edge, Origin], call: int, starts: set[int]) -> Change:
    """Return what was done to the state that a call returned until it was given to the next.

    Args:
        given: Each part of the state.
        known: The states of all earlier calls, by their position on the graph.
        call: The number of the call that is continued.
        starts: The calls that began sequences; the states that they were given belong to no call.

    Raises:
        Unfollowable: If the graph between cannot be evaluated.
    """
    passed: list[Tensor | None] = []
    held: list[Tensor | None] = []
    for part, state in enumerate(given):
        if state is None:
            return UNKNOWN
        edge = edge_of(state)
        factors = {known[s]: f for s, f in _factors(edge, known, state.detach()).items()} if edge else {}
        through, back = (factors.pop(Origin(call, part, of_result), None) for of_result in (True, False))
        if any(origin.of_result or origin.call not in starts for origin in factors):
            return UNKNOWN  # another part of the state, or one from earlier than the call before
        zeros = torch.zeros_like(state, requires_grad=False)
        passed.append(_unless_all(1.0, zeros if through is None else through))
        held.append(_unless_all(0.0, zeros if back is None else back))
    return Change(tuple(passed), tuple(held))


def _factors(edge: Edge, known: Mapping[Edge, Origin], like: Tensor) -> dict[Edge, Tensor]:
    """Return the derivative by every source, unit by unit.

    Raises:
        Unfollowable: If a unit depends on others than itself: ones cannot show that; another value for
            each unit can.
    """
    ones = torch.ones_like(like)
    generic = (torch.arange(like.numel(), device=like.device).cos() + 1.5).view(like.shape).to(like.dtype)
    factors = derivatives(edge, known, ones)
    for source, grad in derivatives(edge, known, generic).items():
        factor = factors[source]
        if grad.shape != like.shape or not _alike(grad, factor * generic):
            raise Unfollowable("a unit of the state depends on others than itself")
    return factors


def _alike(one: Tensor, other: Tensor) -> bool:
    precision = PRECISION.get(one.dtype, 2e-2)
    atol = precision * float(other.abs().amax()) if other.numel() else 0.0
    return torch.allclose(one, other, rtol=precision, atol=atol, equal_nan=True)


def _unless_all(value: float, factor: Tensor) -> Tensor | None:
    return None if bool((factor == value).all()) else factor


def _behind(start: Node, known: Mapping[Edge, object]) -> dict[Node, tuple[Edge, ...]]:
    """Return the nodes behind one up to the known positions, nearest first, each with the positions behind it."""
    edges: dict[Node, tuple[Edge, ...]] = {}
    waiting = [start]
    for node in waiting:
        if node in edges:
            continue
        if len(edges) == FARTHEST:
            break
        edges[node] = tuple(edge for edge in node.next_functions if edge[0] is not None)  # type: ignore[misc]
        waiting += [edge[0] for edge in edges[node] if edge not in known]
    return edges


def _in_order(start: Node, known: Mapping[Edge, object]) -> list[Node]:
    """Return the nodes on paths from one to known positions, each before those behind it."""
    edges = _behind(start, known)
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
