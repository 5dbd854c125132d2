"""Output that may be gone: a closed terminal, or a pipe whose reader has left, ends no run."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import IO, Any, Final

GONE: Final = (OSError, ValueError)
"""What writing raises where the other end has left, or the file was closed."""


def outlive_the_terminal() -> None:
    """Let this process run on without a standard output or error, now or later; what it would have said is dropped.

    A hang-up, which is what a terminal sends when it is closed, ends it no more. Ctrl-C and SIGTERM do.
    """
    for number in (0, 1, 2):
        _occupy(number)
    sys.stdout, sys.stderr = Lasting(sys.stdout), Lasting(sys.stderr)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


class Lasting:
    """A text stream that drops what it cannot write, and all that comes later.

    Args:
        stream: Where to write; None where the process was started without.

    Example:
        >>> import io
        >>> closed = io.StringIO()
        >>> closed.close()
        >>> Lasting(closed).write("lost")
        4
    """

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = _nowhere() if stream is None else stream

    def write(self, text: str) -> int:
        """Write, or drop, a text; return its length. A letter that the encoding lacks becomes a question mark."""
        self._attempt(lambda: self._written(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write, or drop, several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what was written so far."""
        self._attempt(self._stream.flush)

    def isatty(self) -> bool:
        """Return whether this is a terminal."""
        try:
            return self._stream.isatty()
        except GONE:
            return False

    def _written(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError as error:
            self._stream.write(text.encode(error.encoding, "replace").decode(error.encoding))

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except GONE:
            lost, self._stream = self._stream, _nowhere()
            with suppress(*GONE):  # what it still holds is written there when the process ends
                os.dup2(self._stream.fileno(), lost.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def dropping(stream: IO[str]) -> Iterator[None]:
    """Drop what cannot be written to a stream inside the block; other errors get through."""
    try:
        yield
    except OSError:
        pass
    except ValueError:
        if not getattr(stream, "closed", False):
            raise


def _occupy(number: int) -> None:
    """Open a standard descriptor that is closed, lest the next file that is opened be taken for it."""
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)


@cache
def _nowhere() -> IO[str]:
    return open(os.devnull, "w", encoding="utf-8")
