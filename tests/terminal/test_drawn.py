"""Rich's console writes what can be written, and ends nothing."""

from __future__ import annotations

import io

from rich.table import Table

from rnn_diag.terminal import Text
from rnn_diag.terminal.drawn import Console


def test_tables_are_drawn_and_names_of_others_are_no_markup() -> None:
    console = Console(file=io.StringIO(), width=60)
    table = Table("layer")
    table.add_row(Text("stack.[/red].l0"))
    table.add_row("[bold]")
    table.add_row("[link=x]:smile:")
    console.print(table)
    console.print("a [/green] path")
    printed = console.file.getvalue()
    assert all(name in printed for name in ("stack.[/red].l0", "[bold]", "[link=x]:smile:", "a [/green] path"))


def test_what_goes_to_a_closed_file_is_dropped() -> None:
    file = io.StringIO()
    console = Console(file=file, width=60)
    file.close()
    console.print("lost")
