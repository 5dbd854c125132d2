"""What people are told while training continues: each thing once, and by one rank."""

from __future__ import annotations

import logging
import warnings

from rnn_diag.errors import HINT, described, lets_errors_through
from rnn_diag.terminal.visible import visible

SPEAKER = "rnn_diag.callbacks"
"""What stands where a warning names a file: no line of the user's code has to do with it."""


class DiagnosticWarning(UserWarning):
    """Something could not be measured, or something is wrong with a layer; training continues."""


class Refusal(Exception):
    """An error that is meant to reach the trainer: something that was asked for cannot be, or must not start."""


class NoSuchLayer(Refusal, ValueError):
    """A pattern of `layers` that matches none."""


class Warnings:
    """Warns of each matter once.

    Attributes:
        speaks: Whether this rank is the one that speaks.
    """

    def __init__(self) -> None:
        self.speaks = True
        self._said: set[str] = set()

    def warn(self, message: str) -> None:
        """Warn."""
        if self.speaks:
            warn(message)

    def warn_once(self, matter: str, message: str) -> None:
        """Warn of a layer, or of something else, unless that was done before."""
        if matter not in self._said:
            self._said.add(matter)
            self.warn(f"{matter}: {message}")


def warn(message: str) -> None:
    """Warn in one line; where warnings are errors, log the line instead, so that it ends no run."""
    try:
        warnings.warn_explicit(visible(f"rnn_diag: {message}"), DiagnosticWarning, SPEAKER, 0, module="rnn_diag")
    except DiagnosticWarning as raised:
        logging.getLogger("rnn_diag").warning(str(raised))


def in_words(error: Exception) -> str:
    """Return an error in one line, with where it was raised; raise it again where `RNN_DIAG_RAISE=1` asks for that."""
    if lets_errors_through():
        raise error
    return f"{described(error)}; {HINT}"
