"""Seeing every call of a recurrent module's own `forward`, whoever makes it, only while somebody records."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn

from rnn_diag.cells.cell import RecurrentCell
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
    """Somebody who records."""

    def wants(self, module: nn.Module) -> bool:
        """Whether calls of this module are of interest."""

    def before(self, module: nn.Module) -> Any:
        """Return what must be known before the call; something callable is run in place of the module's `forward`."""

    def after(self, module: nn.Module, known: Any, arguments: tuple[Any, ...], result: Any) -> None:
        """Take note of a call that has returned."""


_observers: list[Observer] = []
_originals: dict[tuple[type[nn.Module], str], Callable[..., Any]] = {}
_lock = threading.Lock()


def add(observer: Observer) -> None:
    """Let somebody see calls; the first one puts the entrances under observation."""
    with _lock:
        if not _observers:
            for owner, attribute in ENTRANCES:
                original = owner.__dict__[attribute]
                _originals[owner, attribute] = original
                setattr(owner, attribute, _observed(original))
        _observers.append(observer)


def remove(observer: Observer) -> None:
    """Stop showing calls; the last one leaves every class as it was."""
    with _lock:
        _observers[:] = [other for other in _observers if other is not observer]
        if not _observers:
            while _originals:
                (owner, attribute), original = _originals.popitem()
                setattr(owner, attribute, original)


def _observed(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    @torch.compiler.disable
    def forward(self: nn.Module, input: Any, hx: Any = None, *more: Any) -> Any:
        watching = [(observer, observer.before(self)) for observer in list(_observers) if observer.wants(self)]
        instead = next((known for _, known in watching if callable(known)), None)
        result = original(self, input, hx, *more) if instead is None else instead(self, input, hx)
        for observer, known in watching:
            observer.after(self, known, (input, hx, *more), result)
        return result

    return forward
