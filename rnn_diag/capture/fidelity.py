"""The self-check: what a sweep says of a weight's or input's gradient, against what autograd gave these calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 5e-2}
"""Largest relative error that is put down to rounding, by the dtype that the kernel computed in."""


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    """Return `‖ours - theirs‖ / ‖theirs‖`; 0 where both are zero, NaN where either holds one."""
    scale = torch.linalg.vector_norm(theirs.double())
    error = torch.linalg.vector_norm(ours.double() - theirs.double())
    return 0.0 if float(error) == 0 else float(error / scale)


def watch_edges(
    outputs: Iterable[Tensor],
    targets: Mapping[str, Tensor],
    boundary: Iterable[Tensor],
    take: Callable[[str, Tensor], None],
    shared: set[tuple[str, Node]],
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

    Returns:
        The hooks' handles.
    """
    names = _names_by_edge(targets)
    if not names:
        return []
    seen = {get_gradient_edge(argument).node for argument in boundary if _has_edge(argument)}
    waiting = [output.grad_fn for output in outputs if output.grad_fn is not None]
    handles = []
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        for place, (following, slot) in enumerate(node.next_functions):
            name = names.get((following, slot))
            if name is not None and (name, node) not in shared:
                handles.append(node.register_hook(_taker(place, name, take)))
                if len(node.next_functions) == 1:
                    shared.add((name, node))
            if following is not None and following not in seen:
                waiting.append(following)
    return handles


def leads_to(output: Tensor, target: Tensor, boundary: Any) -> bool:
    """Whether the graph from what a call returned back to its arguments goes through another thing that it returned."""
    if not (output.requires_grad and target.requires_grad):
        return False
    edge = get_gradient_edge(target)
    seen = {get_gradient_edge(argument).node for argument in tensors_in(boundary) if _has_edge(argument)}
    waiting = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (edge.node, edge.output_nr) in node.next_functions:
            return True
        waiting += [following for following, _ in node.next_functions]
    return False


def tensors_in(values: Any) -> Iterator[Tensor]:
    """Give the tensors in nested tuples and lists, packed sequences included."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from tensors_in(value)


def _names_by_edge(targets: Mapping[str, Tensor]) -> dict[tuple[Node | None, int], str | None]:
    names: dict[tuple[Node | None, int], str | None] = {}
    for name, target in targets.items():
        if target.requires_grad:
            edge = get_gradient_edge(target)
            names[edge.node, edge.output_nr] = None if (edge.node, edge.output_nr) in names else name
    return names


def _taker(place: int, name: str, take: Callable[[str, Tensor], None]) -> Callable[[Any, Any], None]:
    def hook(input_grads: Any, output_grads: Any) -> None:
        if input_grads[place] is not None:
            take(name, input_grads[place].detach())

    return hook


def _has_edge(value: Tensor) -> bool:
    """Whether a tensor has a place on the graph; a view that was made off it says that it needs a gradient, too."""
    return value.requires_grad and (value.grad_fn is not None or not value._is_view())
