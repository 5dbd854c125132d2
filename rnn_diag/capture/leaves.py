"""The tensors in what a call is given and gives, by where they are in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from inspect import Parameter, signature
from itertools import islice
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rnn_diag.capture.graph import Edge, edge_of

DEEPEST = 4
"""Containers within containers that are looked into."""

MOST = 64
"""Tensors that are looked at, and items of each container."""


class Slice(NamedTuple):
    """One of the tensors that were concatenated to another one."""

    axis: int
    start: int
    length: int


Path = tuple[int | str | Slice, ...]
"""Keys that lead to a tensor, from the outside in."""


class Leaf(NamedTuple):
    """A tensor in a call's arguments or results: its values, and its position on the graph."""

    value: Tensor
    edge: Edge | None


def leaves(value: Any) -> dict[Path, Leaf]:
    """Return the tensors in nested tuples, lists, mappings, dataclasses and objects that are like these.

    Example:
        >>> list(leaves({"h": torch.ones(2), "steps": (3, torch.ones(1))}))
        [('h',), ('steps', 1)]
    """
    return {path: Leaf(tensor, edge_of(tensor)) for path, tensor in islice(_tensors(value, 0), MOST)}


def as_it_is(value: Any, depth: int = 0) -> Any:
    """Return the same tensors in dicts, which hold them whatever becomes of the containers that they were in."""
    if isinstance(value, Tensor):
        return value
    items = islice(_items(value), MOST) if depth < DEEPEST else ()
    return {key: as_it_is(item, depth + 1) for key, item in items}


def edges_in(value: Any) -> set[Edge]:
    """Return where these tensors are on the graph."""
    return {leaf.edge for leaf in leaves(value).values() if leaf.edge is not None}


def split(found: Mapping[Path, Leaf]) -> dict[Path, Leaf]:
    """Return the same with each tensor that the graph knows to be concatenated as its parts."""
    parts: dict[Path, Leaf] = {}
    for path, leaf in found.items():
        parts |= _concatenated(path, leaf) or {path: leaf}
    return parts


def arguments(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[int | str, Any]:
    """Return a call's arguments by their position, however they were passed; those without one by name."""
    positions = _positions(type(module))  # type: ignore[arg-type]
    return {**dict(enumerate(args)), **{positions.get(name, name): value for name, value in kwargs.items()}}


def at(value: Any, path: Path) -> Tensor | None:
    """Return the tensor that a path leads to; None where there is none."""
    for key in path:
        if isinstance(key, Slice):
            if not isinstance(value, Tensor):
                return None
            with torch.enable_grad():  # its position on the graph is looked for
                return value.narrow(*key)
        value = dict(islice(_items(value), MOST)).get(key)
    return value if isinstance(value, Tensor) else None


def written(path: Path) -> str:
    """Return a path as one writes it: `0[1]['h']`."""
    first, *others = path
    keys = ("[part]" if isinstance(key, Slice) else f"[{key!r}]" for key in others)
    return f"{first!r}{''.join(keys)}"


def _tensors(value: Any, depth: int) -> Iterator[tuple[Path, Tensor]]:
    if isinstance(value, Tensor):
        yield (), value
    elif depth < DEEPEST:
        for key, item in islice(_items(value), MOST):
            for path, tensor in _tensors(item, depth + 1):
                yield (key, *path), tensor


def _items(value: Any) -> Iterator[tuple[int | str, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, tuple | list):
        yield from enumerate(value)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from ((one.name, getattr(value, one.name, None)) for one in fields(value))
    elif _is_plain(value):
        yield from vars(value).items()


def _is_plain(value: Any) -> bool:
    """Return whether something is an object of a class of the user's own that only holds attributes."""
    if isinstance(value, SimpleNamespace):
        return True
    kind = type(value)
    is_users = kind.__module__.partition(".")[0] not in (*sys.stdlib_module_names, "torch", "numpy", "lightning")
    return is_users and hasattr(value, "__dict__") and not (isinstance(value, nn.Module | type) or callable(value))


def _concatenated(path: Path, leaf: Leaf) -> dict[Path, Leaf]:
    """Return the parts that a tensor was concatenated of; none where it was not, or their sizes are not known."""
    node = leaf.value.grad_fn
    if node is None or node.name() != "CatBackward0" or leaf.value.dim() == 0:
        return {}
    axis = int(node._saved_dim) % 2**64  # type: ignore[attr-defined]
    axis = (axis - 2**64 if axis >= 2**63 else axis) % leaf.value.dim()
    edges = [None if behind is None else (behind, slot) for behind, slot in node.next_functions]
    sizes = [None if edge is None else edge[0]._input_metadata[edge[1]].shape[axis] for edge in edges]
    if sizes.count(None) > 1:
        return {}
    rest = leaf.value.shape[axis] - sum(size for size in sizes if size is not None)
    parts: dict[Path, Leaf] = {}
    start = 0
    for edge, size in zip(edges, sizes, strict=True):
        length = rest if size is None else size
        parts[*path, Slice(axis, start, length)] = Leaf(leaf.value.detach().narrow(axis, start, length), edge)
        start += length
    return parts


@lru_cache(maxsize=1024)
def _positions(kind: type[nn.Module]) -> dict[str, int]:
    try:
        named = list(signature(kind.forward).parameters.values())[1:]
    except (TypeError, ValueError):
        return {}
    by_position = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return {one.name: index for index, one in enumerate(named) if one.kind in by_position}
