"""Walks of the autograd graph: which nodes lie between two tensors, and what reaches some of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

Name = TypeVar("Name", bound=Hashable)
Edge = tuple[Node, int]
"""A tensor's own position on the graph: the node that made it, and which of its results it is."""

JOINS = ("Cat", "Stack", "Add", "Sub", "Mul", "Where", "Lerp")
"""Nodes at which an input joins others."""

VIEWS = ("Slice", "Select", "Expand", "View", "Unsqueeze", "Squeeze", "T", "Transpose", "Permute", "ToCopy", "Reshape")
"""Nodes behind which a tensor is still the same."""


def edge_of(value: Tensor | None) -> Edge | None:
    """Return where a tensor is on the graph; None for one that is not, or a view that was made off it."""
    if value is None or not value.requires_grad or (value.grad_fn is None and value._is_view()):
        return None
    edge = get_gradient_edge(value)
    return edge.node, edge.output_nr


def watch_edges(
    outputs: Iterable[Tensor],
    targets: Mapping[Name, Tensor],
    boundary: Iterable[Tensor],
    take: Callable[[Name, Tensor], None],
    shared: set[tuple[Name, Node]],
    failed: Callable[[Exception], None],
) -> list[Any]:
    """Watch what one call contributes to the gradients of some of its arguments, whatever else those are used for.

    The call's own part of the graph is walked, from its outputs to its arguments, and the nodes that point at a target
    are hooked. Nothing is added to the graph, and no tensor of the model's has a hook.

    Args:
        outputs: What the call returned.
        targets: The arguments of interest, by name. One that has two names has none of its own, and is left out.
        boundary: All arguments: input, states and weights. What lies behind them is not this call's.
        take: Is given the name and every contribution.
        shared: Nodes that several calls have in common (autocast casts a weight once), so that each is hooked once.
        failed: Is given the error of `take`, which would end the backward pass.

    Returns:
        The hooks' handles.
    """
    names = _names_by_edge(targets)
    if not names:
        return []
    seen = {edge[0] for edge in map(edge_of, boundary) if edge is not None}
    waiting = [output.grad_fn for output in outputs if output.grad_fn is not None]
    handles = []
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        for slot, following in enumerate(node.next_functions):
            name = names.get(following)  # type: ignore[arg-type]
            if name is not None and (name, node) not in shared:
                handles.append(node.register_hook(_taker(slot, name, take, failed)))
                if len(node.next_functions) == 1:
                    shared.add((name, node))
            if following[0] is not None and following[0] not in seen:
                waiting.append(following[0])
    return handles


def leads_to(output: Tensor, target: Tensor, boundary: Any) -> bool:
    """Whether the graph from what a call returned back to its arguments leads through another of its results."""
    edge = edge_of(target)
    if edge is None or not output.requires_grad:
        return False
    seen = {behind[0] for behind in map(edge_of, tensors_in(boundary)) if behind is not None}
    waiting = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if edge in node.next_functions:
            return True
        waiting += [following for following, _ in node.next_functions]
    return False


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Give the tensors in nested tuples, lists and mappings, packed sequences included."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        yield from tensors_in(list(values.values()))
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from tensors_in(value)


def leaf_behind(node: Node) -> Node | None:
    """Return the leaf that a node is or views; None where it computes anything."""
    while is_view(node):
        behind = [one for one, _ in node.next_functions if one is not None]
        if len(behind) != 1:
            return None
        node = behind[0]
    return node if hasattr(node, "variable") else None


def is_view(node: Node) -> bool:
    """Return whether a node only shows what is behind it in another form."""
    return node.name().rstrip("0123456789").removesuffix("Backward") in VIEWS


def joins(node: Node) -> bool:
    """Return whether a node puts several tensors together, of which one may be an input."""
    return node.name().startswith(JOINS)


def _names_by_edge(targets: Mapping[Name, Tensor]) -> dict[Edge, Name | None]:
    names: dict[Edge, Name | None] = {}
    for name, target in targets.items():
        edge = edge_of(target)
        if edge is not None:
            names[edge] = None if edge in names else name
    return names


def _taker(
    slot: int, name: Name, take: Callable[[Name, Tensor], None], failed: Callable[[Exception], None]
) -> Callable[[Any, Any], None]:
    def hook(input_grads: Any, output_grads: Any) -> None:
        try:
            if input_grads[slot] is not None:
                take(name, input_grads[slot].detach())
        except Exception as error:
            failed(error)

    return hook
