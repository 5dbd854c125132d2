"""Rich's console, where nobody may be left to read it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, final

from rich.console import Console as RichConsole

from rnn_diag.terminal.lasting import GONE, dropping


@final
class Console(RichConsole):
    """Prints text as it is: brackets in a name are no markup, whatever prints it; styles are those of `Text`.

    What cannot be written is dropped, for a table ends no training.

    Args:
        options: As rich takes them.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False} | options)

    def print(self, *things: Any, **options: Any) -> None:
        """Print as rich does."""
        with dropping(self.file):
            super().print(*things, **options)

    def on_broken_pipe(self) -> None:
        """Drop the rest; rich would end the process."""
        self.quiet = True
        with suppress(*GONE), open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), self.file.fileno())
