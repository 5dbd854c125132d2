"""Exact diagnostics for recurrent networks: the public names, each imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnn_diag.callbacks import RNNDiagnostics
    from rnn_diag.capture import record, register
    from rnn_diag.doctor import compare, examine
    from rnn_diag.trace import Trace

    __version__: str

_PUBLIC = {
    "RNNDiagnostics": "rnn_diag.callbacks",
    "Trace": "rnn_diag.trace",
    "compare": "rnn_diag.doctor",
    "examine": "rnn_diag.doctor",
    "record": "rnn_diag.capture",
    "register": "rnn_diag.capture",
}

__all__ = ["RNNDiagnostics", "Trace", "__version__", "compare", "examine", "record", "register"]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("rnn_diag")
    elif name in _PUBLIC:
        value = getattr(import_module(_PUBLIC[name]), name)
    else:
        raise AttributeError(f"module 'rnn_diag' has no attribute {name!r}; public names: {', '.join(__all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
