"""Which recurrent modules a model holds, what their layers are called, and which of them cannot be followed."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from rnn_diag.capture.finding import Finding, finding_of
from rnn_diag.capture.patterns import matching
from rnn_diag.capture.registry import Registration, owner_of_forward, registration_of
from rnn_diag.capture.written import Held, modules_of
from rnn_diag.cells.equations import Equations
from rnn_diag.cells.of_module import equations_of, suffixes_of
from rnn_diag.coverage import Coverage, Status

_SOUNDS_RECURRENT = re.compile(r"LSTM|GRU|RNN|SRU|[Rr]ecurrent|(Lstm|Gru|Rnn|Sru|^lstm|^gru|^rnn)(?![a-z])")

_SOUNDS_LIKE_A_STATE = re.compile(
    r"hx|hc|h|c|[hc]_?(0|t|prev|cur)|hiddens?|hidden_states?|states?|carry|cell_state|mem|"
    r"(prev|previous|last|cur|init|initial)_?(h|c|hidden|state|states|hidden_state)|(h|c|hidden|state)_?(prev|last)"
)

FEEDFORWARD = (nn.Linear, nn.Embedding, nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.LayerNorm)
"""Parts of a cell, whatever a subclass is called."""

FRAMEWORKS = ("torch", "lightning", "pytorch_lightning", "torchmetrics", "rnn_diag")
"""Packages whose modules are no cells of the user's own."""

COMPILED = (
    "its steps are compiled into a larger graph, where they cannot be seen without changing the numbers; "
    "record the uncompiled model"
)


@dataclass(frozen=True)
class RecurrentModule:
    """A module whose equations are known.

    Attributes:
        path: Where it is in the model; empty for the model itself.
        module: The module.
        equations: Its recurrence; None for a registered cell of which only the hidden state is known.
        suffixes: `l0`, `l0_reverse`, `l1`, … for each layer and direction.
        registration: What the user said of its class, or what was found out of its calls, if it is the user's.
        written: How a user writes the module.
        is_hidden: Whether it is held in a plain list, tuple, dict or dataclass, where torch does not look.
        mend: The code that makes its container known to torch, or empty.
    """

    path: str
    module: nn.Module
    equations: Equations | None
    suffixes: tuple[str, ...]
    registration: Registration | Finding | None = None
    written: str = "model"
    is_hidden: bool = False
    mend: str = ""

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
    """A module that looks recurrent and cannot be followed, with the reason and what to do.

    The guesses among them look so by the names of their arguments alone.
    """

    path: str
    module_type: str
    reason: str
    hint: Literal["", "register"] = ""
    written: str = ""
    is_guess: bool = False

    @property
    def coverage(self) -> Coverage:
        """What is shown of it."""
        return Coverage(self.path, self.module_type, Status.NOT_FOLLOWED, self.reason, self.hint, written=self.written)


def find_recurrent(model: nn.Module, discover: bool = True) -> tuple[list[RecurrentModule], list[Unfollowed]]:
    """Return a model's recurrent modules, each once, and those that are found but not understood.

    Args:
        model: That holds them.
        discover: Whether those count that nobody registered and that were found by what they did.
    """
    return _recurrent_among(list(modules_of(model)), compiled_paths(model), discover)


def _recurrent_among(
    held: Sequence[Held], compiled: Sequence[str], discover: bool
) -> tuple[list[RecurrentModule], list[Unfollowed]]:
    found: list[RecurrentModule] = []
    unfollowed: list[Unfollowed] = []
    for raw_path, module, written, is_hidden, mend in held:
        path, equations = plain_path(raw_path), equations_of(module)
        registration = registration_of(module) or (finding_of(module) if discover else None)
        if registration is not None:
            own = None if registration.equations is None else registration.equations(module)
            found.append(RecurrentModule(path, module, own, ("l0",), registration, written, is_hidden, mend))
        elif equations is not None:
            found.append(RecurrentModule(path, module, equations, suffixes_of(module), None, written, is_hidden, mend))
        elif looks_recurrent := _looks_recurrent(path, module):
            unfollowed.append(replace(looks_recurrent, written=written))
    if not found and not unfollowed:
        candidates = ((one, _takes_a_state(plain_path(one.path), one.module)) for one in held)
        unfollowed = [replace(unknown, written=one.written) for one, unknown in candidates if unknown is not None]
    inside = [cell for cell in found if cell.is_cell and any(is_within(cell.path, outer) for outer in compiled)]
    spoken_of = [one.path for one in found] + [one.path for one in unfollowed]
    silent = [
        one
        for one in unfollowed
        if not any(is_within(one.path, known.path) for known in found)
        and not any(is_within(path, one.path) for path in spoken_of if path != one.path)
    ]
    followed = [one for one in found if one not in inside]
    return followed, silent + [Unfollowed(cell.path, type_name(cell.module), COMPILED) for cell in inside]


class Candidate(NamedTuple):
    """A module of the user's own that may prove to be recurrent; the fields are those of `RecurrentModule`."""

    path: str
    module: nn.Module
    written: str
    is_hidden: bool
    mend: str

    @property
    def name(self) -> str:
        """What its layer would be called."""
        return f"{self.path}.l0" if self.path else "l0"

    def unfollowed(self, reason: str, hint: Literal["", "register"] = "") -> Unfollowed:
        """Return what to say where it is not followed."""
        return Unfollowed(self.path, type_name(self.module), reason, hint, self.written)


def _candidates_among(
    held: Sequence[Held], compiled: Sequence[str], found: Iterable[RecurrentModule]
) -> list[Candidate]:
    """Return the modules whose calls may show that they are recurrent: the user's own that are not compiled."""
    known = [one.path for one in found]
    candidates = []
    for raw_path, module, written, is_hidden, mend in held:
        path = plain_path(raw_path)
        if not _is_users(module) or any(is_within(path, outer) for outer in (*known, *compiled)):
            continue
        candidates.append(Candidate(path, module, written, is_hidden, mend))
    return candidates


def _is_users(module: nn.Module) -> bool:
    """Return whether a module computes in a `forward` of the user's own, where it can be seen."""
    owner = owner_of_forward(type(module))
    if owner.__module__.partition(".")[0] in FRAMEWORKS or "forward" in vars(module):
        return False
    return not isinstance(module, torch.jit.ScriptModule) and not _was_compiled(owner.__dict__.get("forward"))


def _was_compiled(forward: Any) -> bool:
    """Return whether `torch.compile` has compiled a function, be it of a module that was wrapped elsewhere."""
    code = getattr(inspect.unwrap(forward), "__code__", None) if callable(forward) else None
    if code is None or "torch._dynamo" not in sys.modules:
        return False
    return bool(torch._C._dynamo.eval_frame._debug_get_cache_entry_list(code))


@dataclass(frozen=True)
class FoundLayers:
    """The recurrent layers of a model that some patterns name, before any of them ran.

    Attributes:
        names: Of the layers, in the order of the model.
        modules: The modules that they belong to, by path.
        unfollowed: What looks recurrent and cannot be followed.
        candidates: Modules that may prove to be recurrent when they are called, by path, in the order of the model.
        all_modules: Every recurrent module of the model, also those that no pattern names.
    """

    names: list[str]
    modules: dict[str, RecurrentModule]
    unfollowed: list[Unfollowed]
    candidates: dict[str, Candidate] = field(default_factory=dict)
    all_modules: list[RecurrentModule] = field(default_factory=list)

    def adopt(self, found: RecurrentModule) -> None:
        """Add a candidate that proved to be recurrent."""
        self.modules[found.path] = found
        self.all_modules.append(found)
        self.names.extend(found.names)

    def drop(self, path: str) -> None:
        """Take out a candidate again."""
        found = self.modules.pop(path)
        self.all_modules[:] = [one for one in self.all_modules if one is not found]
        self.names[:] = [name for name in self.names if name not in found.names]

    def forget_guesses(self, paths: Collection[str], everywhere: bool) -> None:
        """Say nothing of what looked recurrent by its arguments: of modules whose calls were seen, or of any."""
        self.unfollowed[:] = [u for u in self.unfollowed if not (u.is_guess and (everywhere or u.path in paths))]

    def module_of(self, name: str) -> RecurrentModule:
        """Return the module that a layer belongs to: one that the patterns name, or another of the same stack.

        Raises:
            KeyError: If there is no such layer.
        """
        for module in self.modules.values():
            if name in module.names:
                return module
        raise KeyError(f"no recurrent layer is called {name!r}; found: {', '.join(self.names) or 'none'}")

    def has_equations(self, name: str) -> bool:
        """Return whether a layer's recurrence is known; if not, only its states and their gradients are."""
        return self.module_of(name).equations is not None

    @property
    def coverage(self) -> list[Coverage]:
        """Every layer as one that has not run, and every module that cannot be followed."""
        silent = [self.module_of(name).module for name in self.names]
        rows = [
            Coverage(name, type_name(module), Status.NEVER_RAN, *why_silent(module))
            for name, module in zip(self.names, silent, strict=True)
        ]
        return rows + self.not_followed

    @property
    def not_followed(self) -> list[Coverage]:
        """Every module that cannot be followed, with the reason."""
        return [u.coverage for u in self.unfollowed]

    def not_followed_but(self, better: Sequence[Unfollowed]) -> list[Coverage]:
        """Return the same with what is known better, of modules inside or around them, too."""
        known = [*self.candidates.keys() & self.modules.keys(), *(one.path for one in better)]
        others = [u for u in self.unfollowed if not any(is_within(u.path, p) or is_within(p, u.path) for p in known)]
        return [u.coverage for u in (*others, *better)]


def find_layers(model: nn.Module, patterns: str | Iterable[str] = "*", discover: bool = False) -> FoundLayers:
    """Return a model's recurrent layers, by glob patterns of their names.

    Args:
        model: That holds them.
        patterns: Which of them.
        discover: Whether modules count that nobody registered and that prove, or have proved, to be recurrent.

    Raises:
        ValueError: If a pattern matches no layer.
        TypeError: If `model` is no module, or `patterns` neither a pattern nor several.

    Example:
        >>> find_layers(nn.LSTM(3, 5, num_layers=2), "l1").names
        ['l1']
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model={type(model).__name__}; expected a torch.nn.Module that holds recurrent layers")
    held, compiled = list(modules_of(model)), compiled_paths(model)
    found, unfollowed = _recurrent_among(held, compiled, discover)
    possible = {one.name: one for one in _candidates_among(held, compiled, found)} if discover else {}
    names = matching([name for recurrent in found for name in recurrent.names], patterns, possible)
    modules = {r.path: r for r in found if any(name in names for name in r.names)}
    candidates = {one.path: one for name, one in possible.items() if name in names}
    return FoundLayers([name for name in names if name not in possible], modules, unfollowed, candidates, found)


def is_within(path: str, outer: str) -> bool:
    """Return whether a module is another one, or inside it, by their paths."""
    return not outer or path == outer or path.startswith(f"{outer}.")


def plain_path(path: str) -> str:
    """Return a module's path without the wrapper that `torch.compile` adds."""
    return ".".join(part for part in path.split(".") if part != "_orig_mod")


def type_name(module: nn.Module) -> str:
    """Return a module's class as a user would write it."""
    if isinstance(module, torch.jit.ScriptModule):
        return f"torch.jit.ScriptModule({getattr(module, 'original_name', '?')})"
    kind = type(module)
    return f"torch.nn.{kind.__name__}" if kind.__module__.startswith("torch.nn") else kind.__name__


def compiled_paths(model: nn.Module) -> list[str]:
    """Return where a model goes through `torch.compile`."""
    return [plain_path(path) for path, module in model.named_modules() if _is_compiled(module)]


def _is_compiled(module: nn.Module) -> bool:
    return (
        getattr(module, "_compiled_call_impl", None) is not None
        or "_orig_mod" in module._modules
        or hasattr(getattr(module, "forward", None), "_torchdynamo_orig_callable")
    )


def _looks_recurrent(path: str, module: nn.Module) -> Unfollowed | None:
    name = getattr(module, "original_name", None) if isinstance(module, torch.jit.ScriptModule) else None
    name = name or type(module).__name__
    if not _SOUNDS_RECURRENT.search(name) or isinstance(module, FEEDFORWARD):
        return None
    if isinstance(module, torch.jit.ScriptModule):
        reason = "TorchScript runs its own copy of the forward; use the module before torch.jit.script or trace"
        return Unfollowed(path, type_name(module), reason)
    if (home := type(module).__module__).startswith("torch."):
        reason = f"{home}.{name} runs a kernel that keeps its weights to itself; use the torch.nn module"
        return Unfollowed(path, type_name(module), reason)
    reason = (
        f"found, not understood: {name} is none of torch's or rnn_diag's recurrent modules; if the model calls it, or "
        "a cell inside, once for every step, see rnn_diag.register"
    )
    return Unfollowed(path, type_name(module), reason, hint="register")


def _takes_a_state(path: str, module: nn.Module) -> Unfollowed | None:
    """Return what to say of a user's module that is given a state next to an input, as a cell is; None of another."""
    kind = type(module)
    if kind.__module__.partition(".")[0] in FRAMEWORKS[:-1]:
        return None
    try:
        _, _, *others = signature(kind.forward).parameters
    except (TypeError, ValueError):  # no input next to which a state could be, or no Python function
        return None
    state = next((name for name in others if _SOUNDS_LIKE_A_STATE.fullmatch(name)), None)
    if state is None:
        return None
    return Unfollowed(
        path,
        type_name(module),
        f"found, not understood: {kind.__name__}.forward is given what may be a state ({state!r}); if the model calls "
        "it once for every step, see rnn_diag.register",
        hint="register",
        is_guess=True,
    )


def why_silent(module: nn.Module) -> tuple[str, Literal["", "register"]]:
    """Return why a module may have run without being seen, with what to do, and what may help."""
    bases = [kind for kind in type(module).__mro__ if issubclass(kind, (nn.RNNBase, nn.RNNCellBase))]
    stock = next((kind for kind in bases if kind.__module__.startswith(("torch.nn", "rnn_diag."))), None)
    if "forward" in module.__dict__:
        return (
            "no call was seen: `forward` of this very module was replaced, and what it calls was kept from before; "
            "record before it is replaced, or register the class (rnn_diag.register)",
            "register",
        )
    if stock is not None and type(module).forward is not stock.forward:
        return (
            f"no call was seen: if the model ran, {type(module).__name__}.forward does not go through "
            f"{stock.__name__}.forward; call super().forward in it, or register the class (rnn_diag.register)",
            "register",
        )
    return "no call was seen: the model did not run it, or ran it inside a region compiled by torch.compile", ""
