"""The table that says of every recurrent module how it is seen, and which diagnostics look at it."""

from __future__ import annotations

from typing import NamedTuple

from rich.console import Console
from rich.table import Table

HEADER = ["layer", "module", "captured", "diagnostics"]


class Row(NamedTuple):
    """One layer, or one module that cannot be followed."""

    layer: str
    module: str
    captured: str
    diagnostics: str


def print_coverage(rows: list[Row], caption: str = "", console: Console | None = None) -> None:
    """Print the table, and below it a caption."""
    table = Table(title="rnn_diag: recurrent layers", title_justify="left", title_style="bold")
    for name in HEADER:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row, style="yellow" if row.captured.startswith("not followed") else None)
    console = console or Console()
    console.print(table)
    if caption:
        console.print(caption, style="dim", highlight=False, soft_wrap=True)
