"""Seeing every call of a recurrent module's own `forward`, whoever makes it, and only during a recording."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrize

from rnn_diag.capture.registry import owner_of_forward, registered_types
from rnn_diag.cells.cell import RecurrentCell
from rnn_diag.errors import lets_errors_through
from rnn_diag.nn.layer import RecurrentLayer

ENTRANCES: tuple[tuple[type[nn.Module], str], ...] = (
    (nn.RNN, "forward"),
    (nn.LSTM, "forward"),
    (nn.GRU, "forward"),
    (nn.RNNCell, "forward"),
    (nn.LSTMCell, "forward"),
    (nn.GRUCell, "forward"),
    (RecurrentLayer, "_explicit"),
    (RecurrentCell, "_advance"),
)
"""Where a recurrent module is given what its kernel will see: past hooks, wrappers and subclasses' own `forward`."""


class Observer(Protocol):
    """What is shown the calls."""

    def wants(self, module: nn.Module) -> bool:
        """Whether calls of this module are of interest."""

    def replacement(self, module: nn.Module) -> Callable[..., Any] | None:
        """Return what is to run in place of the module's `forward`, or None."""

    def before(self, module: nn.Module) -> Any:
        """Return what must be known before the call; a context manager is entered around the call alone."""

    def after(
        self, module: nn.Module, ran: Any, known: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """Record a call that has returned."""

    def failed(self, module: nn.Module, error: Exception) -> None:
        """Hear that a call could not be watched."""


Result = TypeVar("Result")


_observers: list[Observer] = []
_originals: dict[tuple[type[nn.Module], str], tuple[Callable[..., Any], Callable[..., Any]]] = {}
_lock = threading.Lock()


def add(observer: Observer, kinds: Iterable[type[nn.Module]] = ()) -> None:
    """Show an observer every call; classes that are not observed yet are, from now on.

    Args:
        observer: To be shown calls.
        kinds: Classes to observe besides those that are always.
    """
    with _lock:
        known = entrances()
        others = dict.fromkeys((owner_of_forward(kind), "forward") for kind in kinds)
        for owner, attribute in [*known, *others]:
            if (owner, attribute) not in _originals:
                original = owner.__dict__[attribute]
                observed = _observed(owner, original, (owner, attribute) in known)  # type: ignore[arg-type]  # hashable
                _originals[owner, attribute] = original, observed
                setattr(owner, attribute, observed)
        _observers.append(observer)


def entrances() -> list[tuple[type[nn.Module], str]]:
    """Return where modules are observed: torch's, this package's, and the registered ones."""
    owners = map(owner_of_forward, registered_types())
    return [*ENTRANCES, *dict.fromkeys((owner, "forward") for owner in owners if owner not in dict(ENTRANCES))]


def remove(observer: Observer) -> None:
    """Stop showing calls; the last one leaves every class as it was."""
    with _lock:
        _observers[:] = [other for other in _observers if other is not observer]
        if not _observers:
            while _originals:
                (owner, attribute), (original, observed) = _originals.popitem()
                if owner.__dict__[attribute] is observed:
                    setattr(owner, attribute, original)  # else another tool wrapped ours meanwhile: its wrapper stays


@functools.lru_cache(maxsize=64)
def _observed(owner: type[nn.Module], original: Callable[..., Any], inherited: bool) -> Callable[..., Any]:
    """Return a class's method as one that observers see; where `inherited`, also if a subclass calls it."""

    @functools.wraps(original)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():  # a cell in a compiled region: the region stays what it is without us
            return original(self, *args, **kwargs)
        if not inherited and owner_of_forward(type(self)) is not owner:
            return original(self, *args, **kwargs)
        watched = _guarded(self, lambda: _Watched.begun(self))
        if watched is None:
            return original(self, *args, **kwargs)
        try:
            try:
                result, ran = watched.run(original, args, kwargs)
            finally:
                _guarded(self, watched.around.close)
            _guarded(self, lambda: watched.end(ran, args, kwargs, result))
        finally:
            _guarded(self, watched.until_read.close)
        return result

    return torch.compiler.disable(forward) if issubclass(owner, nn.RNNBase) else forward


@dataclass
class _Watched:
    """One call that observers look at.

    Attributes:
        module: Which is called.
        known: What each observer knew before the call.
        instead: What is to run in place of the module's `forward`.
        around: What is entered around the call.
        until_read: What is entered around the call and what observers read of it.
    """

    module: nn.Module
    known: list[tuple[Observer, Any]]
    instead: Callable[..., Any] | None
    around: ExitStack
    until_read: ExitStack

    @classmethod
    def begun(cls, module: nn.Module) -> _Watched | None:
        """Ask all observers; return None where none is interested."""
        observers = [observer for observer in list(_observers) if observer.wants(module)]
        if not observers:
            return None
        instead = next(filter(None, (observer.replacement(module) for observer in observers)), None)
        known = [(observer, observer.before(module)) for observer in observers]
        with ExitStack() as until_read, ExitStack() as around:
            until_read.enter_context(_read_once(module))
            for _, before in known:
                if isinstance(before, AbstractContextManager):
                    around.enter_context(before)
            return cls(module, known, instead, around.pop_all(), until_read.pop_all())

    def run(
        self, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, Callable[..., Any]]:
        """Return what the call returns, and what ran; where a replacement fails, the module's own `forward` does."""
        if (instead := self.instead) is not None:
            results = _guarded(self.module, lambda: [instead(self.module, *args, **kwargs)])
            if results is not None:
                return results[0], instead
        return original(self.module, *args, **kwargs), original

    def end(self, ran: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Show all observers what came of it."""
        for observer, before in self.known:
            observer.after(self.module, ran, before, args, kwargs, result)


def _guarded(module: nn.Module, action: Callable[[], Result]) -> Result | None:
    """Return what an action of ours gives; its error, which would end the model's own call, goes to the observers."""
    try:
        return action()
    except Exception as error:
        if lets_errors_through():
            raise
        for observer in list(_observers):
            observer.failed(module, error)
        return None


def _read_once(module: nn.Module) -> AbstractContextManager[Any]:
    """Let us read a cell's parametrised weight as its call read it: once, since reading it anew may change it.

    A layer's weights are read off its list of flat weights, past any parametrisation.
    """
    once = isinstance(module, nn.RNNCellBase) and parametrize.is_parametrized(module)
    return parametrize.cached() if once else nullcontext()
