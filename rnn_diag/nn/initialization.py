"""The former place of `rnn_diag.interventions.initialization`."""

import warnings
from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    moved = import_module("rnn_diag.interventions.initialization")
    if name.startswith("__") or not hasattr(moved, name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"{__name__}.{name} is now {moved.__name__}.{name}", FutureWarning, stacklevel=2)
    return getattr(moved, name)
