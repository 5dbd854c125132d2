"""The table that says of every recurrent module how it is seen, and under which tags its numbers stand."""

from __future__ import annotations

from typing import NamedTuple

from rich.console import Console
from rich.table import Table

HEADER = ["layer", "module", "captured", "tags"]


class Row(NamedTuple):
    """One layer, or one module that cannot be followed."""

    layer: str
    module: str
    captured: str
    tags: str


def print_coverage(rows: list[Row], console: Console | None = None) -> None:
    """Print the table."""
    table = Table(title="rnn_diag: recurrent layers", title_justify="left", title_style="bold")
    for name in HEADER:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row, style="yellow" if row.captured.startswith("not followed") else None)
    (console or Console()).print(table)
