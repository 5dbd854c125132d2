"""What went wrong in one line, with the file and line to look at; and the switch that lets errors through."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SWITCH = "RNN_DIAG_RAISE"
"""The environment variable that lets errors through, so that the whole stack is seen."""

HINT = f"set {SWITCH}=1 to see the stack"

_NOT_THE_USERS = frozenset(sys.stdlib_module_names) - {"__main__"} | {"torch", "lightning", "pytorch_lightning"}
_OURS = __name__.partition(".")[0]


def described(error: BaseException) -> str:
    """Return an error's type, where it was raised and its message, in one line.

    The line is the innermost one of the user's code; where the stack holds none, of this package.

    Example:
        >>> described(ValueError("k=2; expected 3"))
        'ValueError: k=2; expected 3'
    """
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    users = [one for one in frames if _package(one[0].f_globals) not in _NOT_THE_USERS | {_OURS}]
    ours = [one for one in frames if _package(one[0].f_globals) == _OURS]
    where = ""
    if chosen := (users or ours or frames)[-1:]:
        code, line = chosen[0][0].f_code, chosen[0][1]
        inside = "" if code.co_name.startswith("<") else f" {code.co_name}()"
        where = f" in {Path(code.co_filename).name}:{line}{inside}"
    message = " ".join(str(error).split())
    return f"{type(error).__name__}{where}{': ' if message else ''}{message}"


def lets_errors_through() -> bool:
    """Return whether `RNN_DIAG_RAISE=1` asks for errors to end the run, with their stack, instead of one line."""
    return os.environ.get(SWITCH, "0") not in ("", "0")


def _package(names: dict[str, object]) -> str:
    return str(names.get("__name__", "")).partition(".")[0]


@contextmanager
def needs(what: str, install: str) -> Iterator[None]:
    """Say in one line which package a part of this one needs, where an import in the block does not find it.

    Args:
        what: The part.
        install: What `pip install` should be given.

    Raises:
        ModuleNotFoundError: If a package is absent.

    Example:
        >>> with needs("task=digits", "scikit-learn"):
        ...     import not_there
        Traceback (most recent call last):
        ModuleNotFoundError: task=digits needs not_there; install it with: pip install scikit-learn
    """
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"{what} needs {error.name}; install it with: pip install {install}"
        raise ModuleNotFoundError(message, name=error.name) from None


@contextmanager
def ends_with_one_line(program: str, *errors: type[Exception]) -> Iterator[None]:
    """End a command with one line on the standard error, and status 1, where one of these errors is raised.

    Args:
        program: The command's name, which leads the line.
        errors: Those that say what the user can change.
    """
    try:
        yield
    except errors as error:
        message = " ".join(str(error).split())
        if isinstance(error, ModuleNotFoundError):
            message += "; install what the command needs with: pip install rnn_diag"
        sys.exit(f"{program}: {message}")
