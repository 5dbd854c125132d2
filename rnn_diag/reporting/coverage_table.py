"""The table that says of every recurrent module how it was captured, and which diagnostics measure it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rnn_diag.coverage import Coverage, Status
from rnn_diag.terminal import Console, Table, Text

FROZEN = "every call; frozen: gradients if any pass through"
"""Shown for a layer before it ran where it is not known whether a gradient reaches it."""

HEADER = ["layer", "module", "captured", "diagnostics"]

STYLES = {
    Status.NOT_FAITHFUL: "red",
    Status.NOT_CHECKED: "yellow",
    Status.PARTIAL: "yellow",
    Status.NOT_FOLLOWED: "yellow",
}


class Row(NamedTuple):
    """One layer, or one module that cannot be followed.

    Attributes:
        coverage: How it was captured.
        diagnostics: The names of those that measure it.
        expected: Whether it has had the chance to run: before the first measured step nothing has.

    Example:
        >>> Row(Coverage("l0", "LSTM", Status.NEVER_RAN, "no call"), ("spectrum",), expected=False).cells
        ['l0', 'LSTM', 'every call', 'spectrum']
    """

    coverage: Coverage
    diagnostics: tuple[str, ...]
    expected: bool = True

    @property
    def layer(self) -> str:
        """Its name."""
        return self.coverage.layer

    @property
    def captured(self) -> str:
        """How it was, or is going to be, captured."""
        to_come = self.coverage.status is Status.NEVER_RAN and not self.expected
        if not to_come:
            return f"{self.coverage.status}: {self.coverage.reason}"
        when = "every call" if self.coverage.has_gradients else FROZEN
        return f"{when}; {self.coverage.found}" if self.coverage.found else when

    @property
    def cells(self) -> list[str]:
        """The row's text, column by column."""
        return [self.layer, self.coverage.module_type, self.captured, ", ".join(self.diagnostics)]


def print_coverage(rows: Sequence[Row], caption: str = "", console: Console | None = None) -> None:
    """Print the table, and below it a caption."""
    table = Table(title="rnn_diag: recurrent layers", title_justify="left", title_style="bold")
    for name in HEADER:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row.cells), style=STYLES.get(row.coverage.status))
    console = console or Console()
    console.print(table)
    if caption:
        console.print(Text(caption, style="dim"), soft_wrap=True)
