"""Rich's console, where nobody may be left to read it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, final

from rich.console import Console as RichConsole
from rich.text import Text as RichText

from rnn_diag.terminal.lasting import GONE, dropping
from rnn_diag.terminal.visible import visible


class Text(RichText):
    """Text with a style, of which only what can be seen is printed.

    Args:
        text: Which may hold names of others.
        options: As rich takes them.
    """

    def __init__(self, text: str = "", *options: Any, **more: Any) -> None:
        super().__init__(visible(text), *options, **more)

    def append(self, text: Any, style: Any = None) -> Any:
        """Add text, which may be another `Text`."""
        return super().append(visible(text) if isinstance(text, str) else text, style)


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

    def render_str(self, text: str, **options: Any) -> RichText:
        """Return a text as rich takes it; a name in it commands no terminal."""
        return super().render_str(visible(text), **options)

    def on_broken_pipe(self) -> None:
        """Drop the rest; rich would end the process."""
        self.quiet = True
        with suppress(*GONE), open(os.devnull, "w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), self.file.fileno())
