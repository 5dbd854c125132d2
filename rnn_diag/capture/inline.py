"""Loops over time that are written inside one `forward`, with no module for the step; read off the graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from weakref import WeakKeyDictionary

from torch import nn
from torch.autograd.graph import Node

from rnn_diag.capture.graph import is_view, joins, leaf_behind
from rnn_diag.capture.returning import Sighting

STEPS = 3
"""Uses of a parameter, each on what the last gave, that are a loop."""

LARGEST = 2**14
"""Nodes of a call's graph that are looked at."""

Graph = Mapping[Node, tuple[Node, ...]]
"""Nodes, each with those behind it."""

_known: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()


def loop_inside(module: nn.Module, call: Sighting) -> str:
    """Return what to say of a loop over time in a module's own `forward`; empty where there is none.

    A module is looked at once, when it is first seen on a graph.
    """
    if module not in _known:
        graph = _graph_of(call)
        if not graph:
            return ""
        _known[module] = _reason(module, graph)
    return _known[module]


def _reason(module: nn.Module, graph: Graph) -> str:
    named = {id(value): name for name, value in module.named_parameters()}
    for name, uses in sorted(_uses(graph, named).items(), key=lambda one: "bias" in one[0]):
        if _is_loop(graph, uses):
            return (
                f"a loop over time is written inside {type(module).__name__}.forward ({name} is used {len(uses)} "
                "times, each time on what it gave before together with something new), and no module is called for "
                "every step; move the step into a module of its own, called as cell(input, state) -> state, and it is "
                "followed by its state, and with rnn_diag.register by its gates"
            )
    return ""


def _graph_of(call: Sighting) -> Graph:
    """Return the nodes from what a call gave back to what it was given, each before those behind it."""
    ends = {leaf.edge[0] for leaf in call.whole.values() if leaf.edge is not None}
    waiting = [(leaf.edge[0], False) for leaf in call.gave.values() if leaf.edge is not None]
    seen: set[Node] = set()
    done: list[Node] = []
    while waiting:
        node, is_done = waiting.pop()
        if is_done:
            done.append(node)
        elif node not in seen and node not in ends and len(seen) < LARGEST:
            seen.add(node)
            waiting += [(node, True), *((behind, False) for behind, _ in node.next_functions if behind is not None)]
    return {node: tuple(behind for behind, _ in node.next_functions if behind is not None) for node in reversed(done)}


def _uses(graph: Graph, named: Mapping[int, str]) -> dict[str, list[Node]]:
    """Return the nodes that use each parameter, those first that others are used behind."""
    uses: dict[str, dict[Node, None]] = defaultdict(dict)
    for node, behind in graph.items():
        for one in behind if not is_view(node) else ():
            name = named.get(id(getattr(leaf_behind(one), "variable", None)))
            if name is not None:
                uses[name][node] = None
    return {name: list(nodes) for name, nodes in uses.items() if len(nodes) >= STEPS}


def _is_loop(graph: Graph, uses: list[Node]) -> bool:
    """Return whether some uses follow each other, each on what the one before gave together with something new."""
    node, others = uses[0], set(uses[1:])
    for _ in range(STEPS - 1):
        way = _way_behind(graph, node, others)
        if not way or not any(_something_joins(graph, one, way, others) for one in way):
            return False
        node = way[0]
        others.discard(node)
    return True


def _way_behind(graph: Graph, start: Node, wanted: set[Node]) -> list[Node]:
    """Return the shortest way from the nearest of some nodes behind one, to that one; nothing where there is none."""
    came_from: dict[Node, Node] = {}
    waiting = [start]
    for node in waiting:
        for behind in graph.get(node, ()):
            if behind not in came_from:
                came_from[behind] = node
                waiting.append(behind)
            if behind in wanted:
                way = [behind]
                while (last := way[-1]) is not start:
                    way.append(came_from[last])
                return way
    return []


def _something_joins(graph: Graph, node: Node, way: list[Node], uses: set[Node]) -> bool:
    """Return whether anything joins here that is neither a parameter nor made of what an earlier use gave."""
    if node is way[0] or not joins(node):
        return False
    if node.name().startswith("Cat") and any(behind is None for behind, _ in node.next_functions):
        return True
    others = [behind for behind in graph.get(node, ()) if behind not in way and leaf_behind(behind) is None]
    return any(not _way_behind(graph, other, uses) and other not in uses for other in others)
