"""What a tensor was before it was put together with others and taken out again: states that are stacked in between."""

from __future__ import annotations

from torch import Tensor
from torch.autograd.graph import Node

from rnn_diag.capture.graph import Edge, edge_of


def source_of(edge: Edge) -> Edge:
    """Return the position on the graph of the very tensor that was stacked or concatenated and taken out again.

    The gradient of the one is the gradient of the other. Any other tensor's position is its own.

    Example:
        >>> import torch
        >>> from rnn_diag.capture.graph import edge_of
        >>> one, other = (torch.ones(2, requires_grad=True).exp() for _ in range(2))
        >>> source_of(edge_of(torch.stack((one, other))[1])) == edge_of(other)
        True
    """
    while (behind := _operand(*edge)) is not None:
        edge = behind
    return edge


def known_as(value: Tensor | None) -> Edge | None:
    """Return what a state is known as on the graph: the position of its source; None for one that is not on it."""
    edge = edge_of(value)
    return None if edge is None else source_of(edge)


def _operand(node: Node, slot: int) -> Edge | None:
    name = node.name()
    if name not in (
        "SelectBackward0",
        "UnbindBackward0",
        "SliceBackward0",
        "SplitBackward0",
        "SplitWithSizesBackward0",
    ):
        return None
    whole = node.next_functions[0][0]
    together = "StackBackward0" if name in ("SelectBackward0", "UnbindBackward0") else "CatBackward0"
    if whole is None or whole.name() != together:
        return None
    shape = tuple(whole._input_metadata[0].shape)
    axis = _signed(whole._saved_dim) % len(shape)  # type: ignore[attr-defined]
    if _signed(node._saved_dim) % len(shape) != axis:  # type: ignore[attr-defined]
        return None
    operands = [(behind, k) for behind, k in whole.next_functions if behind is not None]
    if len(operands) < len(whole.next_functions):  # the sizes of those off the graph are not known
        return None
    if together == "StackBackward0":
        index = slot if name == "UnbindBackward0" else _signed(node._saved_index) % shape[axis]  # type: ignore[attr-defined]
        return operands[index]
    part, start = _part(node, slot, shape[axis]), 0
    for operand in operands:
        end = start + operand[0]._input_metadata[operand[1]].shape[axis]
        if (start, end) == part:
            return operand
        start = end
    return None


def _part(node: Node, slot: int, size: int) -> tuple[int, int] | None:
    """Return where the part begins and ends that was taken out along its axis."""
    name = node.name()
    if name == "SliceBackward0":
        start, end, step = (_signed(getattr(node, f"_saved_{what}")) for what in ("start", "end", "step"))
        return None if step != 1 else (start % size if start < 0 else start, end % size if end < 0 else min(end, size))
    if name == "SplitBackward0":
        length = int(node._saved_split_size)  # type: ignore[attr-defined]
        return slot * length, min((slot + 1) * length, size)
    lengths = [int(one) for one in node._saved_split_sizes]  # type: ignore[attr-defined]
    return sum(lengths[:slot]), sum(lengths[: slot + 1])


def _signed(value: int) -> int:
    """Return a number that autograd shows without its sign."""
    return int(value) - 2**64 if int(value) >= 2**63 else int(value)
