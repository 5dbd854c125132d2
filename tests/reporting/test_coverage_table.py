"""The coverage table names every layer as it is called and colours it by its status."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from rnn_diag.coverage import Coverage, Status
from rnn_diag.reporting.coverage_table import Row, print_coverage


def printed(*rows: Row, caption: str = "") -> Console:
    console = Console(width=160, record=True, file=io.StringIO(), force_terminal=True, color_system="standard")
    print_coverage(rows, caption, console)
    return console


def test_coverage_names_every_layer_and_reason() -> None:
    rows = (
        Row(Coverage("l0", "LSTM", Status.EXACT, "1 call"), ("spectrum",)),
        Row(Coverage("odd", "MyRNN", Status.NOT_FOLLOWED, "why"), ()),
    )
    text = printed(*rows, caption="every 50 steps").export_text()
    words = ("l0", "LSTM", "exact", "spectrum", "odd", "MyRNN", "not followed: why", "50")
    assert all(word in text for word in words)


@pytest.mark.parametrize("name", ["[/red]", "[bold]x", "<b>", "a|b", ":smile:"])
def test_a_name_that_holds_markup_is_printed_as_it_is(name: str) -> None:
    row = Row(Coverage(name, name, Status.EXACT, name), (name,))
    assert printed(row, caption=name).export_text().count(name) == 5


def test_a_layer_is_coloured_by_its_status_and_not_by_its_words() -> None:
    misleading = Row(Coverage("l0", "LSTM", Status.EXACT, "not followed"), ())
    assert "\x1b[33m" not in printed(misleading).export_text(styles=True)
    partial = Row(Coverage("l0", "LSTM", Status.PARTIAL, "a call was lost"), ())
    assert "\x1b[33m" in printed(partial).export_text(styles=True)


def test_a_layer_that_was_not_due_yet_is_going_to_be_captured() -> None:
    silent = Coverage("l0", "LSTM", Status.NEVER_RAN, "no call was seen")
    assert Row(silent, (), expected=False).captured == "every call"
    assert Row(silent, (), expected=True).captured == "never ran: no call was seen"
