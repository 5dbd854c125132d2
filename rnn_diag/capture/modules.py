"""Which recurrent modules a model holds, what their layers are called, and which of them cannot be followed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn

from rnn_diag.capture.registry import Registration, registration_of
from rnn_diag.cells.equations import Equations
from rnn_diag.nn.equations_of import equations_of, suffixes_of

_SOUNDS_RECURRENT = re.compile(r"LSTM|GRU|RNN|Recurrent|QRNN|SRU", re.IGNORECASE)


@dataclass(frozen=True)
class RecurrentModule:
    """A module whose equations are known.

    Attributes:
        path: Where it is in the model; empty for the model itself.
        module: The module.
        equations: Its recurrence; None for a registered cell of which only the hidden state is known.
        suffixes: `l0`, `l0_reverse`, `l1`, … for each layer and direction.
        registration: What the user said of its class, if it is the user's.
    """

    path: str
    module: nn.Module
    equations: Equations | None
    suffixes: tuple[str, ...]
    registration: Registration | None = None

    def name(self, suffix: str) -> str:
        """Return a layer's full name, such as `encoder.l0`."""
        return f"{self.path}.{suffix}" if self.path else suffix

    @property
    def names(self) -> tuple[str, ...]:
        """The full names of its layers."""
        return tuple(self.name(suffix) for suffix in self.suffixes)

    @property
    def is_one_way(self) -> bool:
        """Whether time is read from the front only, so that calls can go on where others ended."""
        return not any(suffix.endswith("_reverse") for suffix in self.suffixes)

    @property
    def is_cell(self) -> bool:
        """Whether it is called once for every step."""
        return isinstance(self.module, nn.RNNCellBase) or self.registration is not None


@dataclass(frozen=True)
class Unfollowed:
    """A module that looks recurrent and cannot be followed, with the reason and what to do."""

    path: str
    module_type: str
    reason: str


def find_recurrent(model: nn.Module) -> tuple[list[RecurrentModule], list[Unfollowed]]:
    """Return a model's recurrent modules, each once, and those that are found but not understood."""
    found: list[RecurrentModule] = []
    unfollowed: list[Unfollowed] = []
    inside: set[str] = set()
    for raw_path, module in model.named_modules():
        path = plain_path(raw_path)
        registration, equations = registration_of(module), equations_of(module)
        if registration is not None:
            own = None if registration.equations is None else registration.equations(module)
            found.append(RecurrentModule(path, module, own, ("l0",), registration))
            inside.add(path)
        elif equations is not None:
            found.append(RecurrentModule(path, module, equations, suffixes_of(module)))
            inside.add(path)
        elif reason := _why_unfollowed(module):
            if not any(path.startswith(f"{outer}.") for outer in inside):
                unfollowed.append(Unfollowed(path, type_name(module), reason))
    compiled = is_compiled(model)
    for cell in [recurrent for recurrent in found if recurrent.is_cell and compiled]:
        found.remove(cell)
        unfollowed.append(
            Unfollowed(
                cell.path,
                type_name(cell.module),
                "its steps are compiled into a larger graph, where they cannot be seen without changing the numbers; "
                "record the uncompiled model",
            )
        )
    return found, unfollowed


def matching(names: list[str], patterns: str | list[str] | tuple[str, ...]) -> list[str]:
    """Return the names that match a glob pattern or any of several.

    Raises:
        ValueError: If a pattern matches none.
    """
    chosen: list[str] = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        hits = [name for name in names if fnmatchcase(name, pattern)]
        if not hits and not (pattern == "*" and not names):
            raise ValueError(f"no recurrent layer matches {pattern!r}; found: {', '.join(names) or 'none'}")
        chosen += hits
    return [name for name in names if name in chosen]


def plain_path(path: str) -> str:
    """Return a module's path without the wrapper that `torch.compile` adds."""
    return ".".join(part for part in path.split(".") if part != "_orig_mod")


def type_name(module: nn.Module) -> str:
    """Return a module's class as a user would write it."""
    if isinstance(module, torch.jit.ScriptModule):
        return f"torch.jit.ScriptModule({getattr(module, 'original_name', '?')})"
    kind = type(module)
    return f"torch.nn.{kind.__name__}" if kind.__module__.startswith("torch.nn") else kind.__name__


def is_compiled(model: nn.Module) -> bool:
    """Whether any part of a model goes through `torch.compile`."""
    for module in model.modules():
        if getattr(module, "_compiled_call_impl", None) is not None or hasattr(module, "_orig_mod"):
            return True
        if hasattr(getattr(module, "forward", None), "_torchdynamo_orig_callable"):
            return True
    return False


def _why_unfollowed(module: nn.Module) -> str | None:
    if isinstance(module, torch.jit.ScriptModule):
        if _SOUNDS_RECURRENT.search(getattr(module, "original_name", "") or ""):
            return "TorchScript runs its own copy of the forward; use the module before torch.jit.script or trace"
        return None
    if not _SOUNDS_RECURRENT.search(type(module).__name__) or not any(True for _ in module.parameters(recurse=False)):
        return None
    return f"not understood: {type(module).__name__} is none of torch's or rnn_diag's recurrent modules; see rnn_diag.register"
