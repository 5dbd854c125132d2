"""Series as files: what a panel shows, row by row, as CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from rnn_diag.tb.kinds import KINDS
from rnn_diag.tb.kinds.kind import Row
from rnn_diag.tb.rows import Event
from rnn_diag.tb.schema import VERSION

FORMATS = {"csv": "text/csv", "json": "application/json"}
EXPORTED = [name for name, kind in KINDS.items() if kind.rows is not None]


class Series(NamedTuple):
    """A series as it was read: only what its kind can show."""

    run: str
    content: Mapping[str, Any]
    events: list[Event]


def as_file(series: Iterable[Series], format_: str) -> bytes:
    """Return series as one file; in JSON numbers that are not finite are words, as JSON has no numbers for them.

    Raises:
        ValueError: If a series is of a kind that is not exported.
    """
    rows = [row for one in series for row in rows_of(one)]
    if format_ == "json":
        plain = [{name: _in_words(value) for name, value in row.items()} for row in rows]
        return json.dumps({"version": VERSION, "rows": plain}, allow_nan=False).encode()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _as_text(value) for name, value in row.items()} for row in rows)
    return text.getvalue().encode()


def rows_of(series: Series) -> Iterator[Row]:
    """Return a row for every number, or for those that belong together: a bin's, a unit's, an eigenvalue's.

    Raises:
        ValueError: If the series is of a kind that is not exported.
    """
    kind = KINDS[series.content["kind"]]
    if kind.rows is None:
        raise ValueError(f"a {kind.name} is not exported; expected one of {', '.join(EXPORTED)}")
    head = {"run": series.run, "layer": series.content["layer"]}
    for event in series.events:
        for row in kind.rows(event.values, series.content):
            yield {**head, "step": event.step, "wall_time": event.wall_time, **row}


def _as_text(value: Any) -> Any:
    """Return a text that a spreadsheet does not take for a formula, and numbers as they are."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _in_words(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
