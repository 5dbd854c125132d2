"""What a person is told while training goes on: each thing once, and by one rank."""

from __future__ import annotations

import warnings


class DiagnosticWarning(UserWarning):
    """Something could not be measured, and training goes on."""


class Notices:
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
            warnings.warn(f"rnn_diag: {message}", DiagnosticWarning, stacklevel=3)

    def warn_once(self, matter: str, message: str) -> None:
        """Warn of a layer, or of something else, unless that was done before."""
        if matter not in self._said:
            self._said.add(matter)
            self.warn(f"{matter}: {message}")
