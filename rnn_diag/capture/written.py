"""How a user writes each module of a model in code, also those in plain containers, where torch does not look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import is_dataclass
from keyword import iskeyword
from types import SimpleNamespace
from typing import Any, NamedTuple

from torch import Tensor, nn

DEEPEST = 4
"""Containers within containers that are looked into."""

_OF_TORCH = frozenset(vars(nn.Module()))
"""Attributes in which torch itself holds modules, parameters and hooks."""
_PLAIN = (bool, int, float, str, bytes, Tensor)
"""Most attributes are one of these, which hold no module."""


class Held(NamedTuple):
    """A module of a model.

    Attributes:
        path: Its attributes and keys, joined by dots; as torch names it, where torch knows it.
        module: The module.
        written: How a user writes it, of a model called `model`.
        is_hidden: Whether it is held in a plain container only: no optimiser is given its parameters.
        mend: The code that makes its container known to torch; empty where there is no container, or several.
    """

    path: str
    module: nn.Module
    written: str
    is_hidden: bool = False
    mend: str = ""


def modules_of(model: nn.Module) -> Iterator[Held]:
    """Give all modules of a model, each once: those that torch knows first, and then those in plain containers.

    A container is a list, tuple, dict, dataclass or namespace that is an attribute of a module, or in such a one.

    Example:
        >>> model = nn.Sequential(nn.GRU(2, 3))
        >>> model.others = {"slow": [nn.GRU(3, 3)]}
        >>> [one.written for one in modules_of(model)]
        ['model', 'model[0]', "model.others['slow'][0]"]
    """
    known = list(_within(model, "", "model"))
    yield from known
    seen = {one.module for one in known}
    for owner in known:
        for name, value in vars(owner.module).items():
            if name in _OF_TORCH or isinstance(value, nn.Module):
                continue
            path = f"{owner.path}.{name}" if owner.path else name
            written = f"{owner.written}.{name}"
            for keys, code, held in _in_container(value):
                inside = [one for one in _within(held, path + keys, written + code) if one.module not in seen]
                seen |= {one.module for one in inside}
                yield from (one._replace(is_hidden=True, mend=_mend(value, written)) for one in inside)


def _within(module: nn.Module, path: str, written: str) -> Iterator[Held]:
    """Give a module and all in it, each once."""
    codes = {"": written}
    for name, one in module.named_modules():
        if name:
            above, _, last = name.rpartition(".")
            codes[name] = codes[above] + _member(module.get_submodule(above), last)
        yield Held(".".join(filter(None, (path, name))), one, codes[name])


def _member(owner: nn.Module, name: str) -> str:
    if name == "_orig_mod":  # what torch.compile wraps answers for it
        return ""
    if isinstance(owner, nn.ModuleList | nn.Sequential) and name.isdigit():
        return f"[{name}]"
    if isinstance(owner, nn.ModuleDict):
        return f"[{name!r}]"
    return f".{name}" if name.isidentifier() and not iskeyword(name) else f".get_submodule({name!r})"


def _in_container(value: Any, depth: int = 0) -> Iterator[tuple[str, str, nn.Module]]:
    """Give the modules in a container: the keys that lead to each, how they are written, and the module."""
    if depth == DEEPEST or value is None or isinstance(value, _PLAIN):
        return
    for key, code, item in _items(value):
        if isinstance(item, nn.Module):
            yield f".{key}", code, item
        else:
            for keys, more, module in _in_container(item, depth + 1):
                yield f".{key}{keys}", code + more, module


def _items(value: Any) -> Iterator[tuple[str, str, Any]]:
    if isinstance(value, dict):
        yield from ((str(key), f"[{key!r}]", item) for key, item in dict.items(value))
    elif isinstance(value, list | tuple):
        yield from ((str(index), f"[{index}]", item) for index, item in enumerate(value))
    elif isinstance(value, SimpleNamespace) or (is_dataclass(value) and not isinstance(value, type)):
        yield from ((name, f".{name}", item) for name, item in getattr(value, "__dict__", {}).items())


def _mend(container: Any, written: str) -> str:
    items = [item for *_, item in _items(container)]
    if not isinstance(container, dict | list | tuple) or not all(isinstance(item, nn.Module) for item in items):
        return ""
    if isinstance(container, dict) and not all(isinstance(key, str) for key in container):
        return ""
    return f"{written} = torch.nn.{'ModuleDict' if isinstance(container, dict) else 'ModuleList'}({written})"
