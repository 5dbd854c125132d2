"""What this package asks of rich, in plain text: the same words in columns, without colours, frames or wrapping."""

from __future__ import annotations

import sys
from itertools import zip_longest
from types import SimpleNamespace
from typing import IO, Any

from rnn_diag.terminal.lasting import dropping
from rnn_diag.terminal.visible import visible

SIMPLE_HEAD = None
RenderableType = Any


class Text:
    """Text whose styles are left out."""

    def __init__(self, text: str = "", style: str = "") -> None:
        self._parts = [text]

    def append(self, text: str, style: str = "") -> Text:
        """Add text at the end."""
        self._parts.append(text)
        return self

    def __str__(self) -> str:
        return "".join(self._parts)


class Group:
    """Things below each other."""

    def __init__(self, *parts: Any) -> None:
        self._parts = parts

    def __str__(self) -> str:
        return "\n".join(map(str, self._parts))


class Table:
    """Rows in columns, which are two spaces apart and as wide as their widest line.

    Args:
        header: The columns' names.
        title: Stands above them.
        options: What rich would draw differently.

    Example:
        >>> table = Table("layer", "steps")
        >>> table.add_row("encoder.l0", "7")
        >>> print(table)
        layer       steps
        encoder.l0  7
    """

    def __init__(self, *header: str, title: str = "", **options: Any) -> None:
        self.columns = [SimpleNamespace(header=name) for name in header]
        self._title = title
        self._rows: list[list[str]] = []

    @classmethod
    def grid(cls, **options: Any) -> Table:
        """Return a table without names of columns."""
        return cls()

    @property
    def row_count(self) -> int:
        """The number of rows."""
        return len(self._rows)

    def add_column(self, header: str, **options: Any) -> None:
        """Add a column."""
        self.columns.append(SimpleNamespace(header=header))

    def add_row(self, *cells: Any, style: Any = None) -> None:
        """Add a row; its cells may have several lines."""
        self._rows.append([str(cell) for cell in cells])

    def __str__(self) -> str:
        names = [column.header for column in self.columns]
        lines = [line for row in ([names] if names else []) + self._rows for line in _lines(row)]
        widths = [max(map(len, column)) for column in zip_longest(*lines, fillvalue="")]
        table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([self._title, *table] if self._title else table)


class Console:
    """Prints.

    Args:
        file: Where to; the standard output if None.
        options: What rich would do differently.
    """

    def __init__(self, file: IO[str] | None = None, **options: Any) -> None:
        self.file = file

    def print(self, thing: Any = "", **options: Any) -> None:
        """Print one thing; an object that rich would render is printed as its `__rich__` returns it."""
        shown = thing.__rich__() if hasattr(thing, "__rich__") else thing
        file = self.file or sys.stdout
        with dropping(file):
            print(visible(str(shown)), file=file)


def _lines(row: list[str]) -> list[tuple[str, ...]]:
    return list(zip_longest(*(cell.split("\n") for cell in row), fillvalue=""))
