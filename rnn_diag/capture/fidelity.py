"""The self-check: what the sweep says of a weight's or an input's gradient, against what autograd gave this very call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
    outputs: Iterable[Tensor], target: Tensor, boundary: Iterable[Tensor], take: Callable[[Tensor], None]
) -> list[Any]:
    """Watch what one call contributes to the gradient of its input, whatever else that input is used for.

    The call's own part of the graph is walked, from its outputs to its arguments, and the nodes that point at the input
    are hooked. Nothing is added to the graph.

    Args:
        outputs: What the call returned.
        target: The input.
        boundary: The other arguments: states and weights.
        take: Is given every contribution.

    Returns:
        The hooks' handles.
    """
    edge = get_gradient_edge(target)
    seen: set[Node] = {edge.node, *(get_gradient_edge(other).node for other in boundary if other.requires_grad)}
    waiting = [output.grad_fn for output in outputs if output.grad_fn is not None]
    handles = []
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        places = []
        for place, (following, slot) in enumerate(node.next_functions):
            if following is None:
                continue
            if following is edge.node and slot == edge.output_nr:
                places.append(place)
            elif following not in seen:
                waiting.append(following)
        if places:
            handles.append(node.register_hook(_taker(places, take)))
    return handles


def _taker(places: list[int], take: Callable[[Tensor], None]) -> Callable[[Any, Any], None]:
    def hook(input_grads: Any, output_grads: Any) -> None:
        for place in places:
            if input_grads[place] is not None:
                take(input_grads[place])

    return hook
