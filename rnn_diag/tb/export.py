"""Series as files: what a panel shows, row by row, as CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from rnn_diag.tb.rows import Event
from rnn_diag.tb.schema import NOT_A_NUMBER, VERSION, WHOLE

FORMATS = {"csv": "text/csv", "json": "application/json"}

Row = dict[str, Any]


class Series(NamedTuple):
    """A series with its description, as it was read."""

    run: str
    tag: str
    content: Mapping[str, Any]
    events: list[Event]


def as_file(series: Iterable[Series], format_: str) -> bytes:
    """Return series as one file; in JSON numbers that are none are words, as JSON has none for them.

    Raises:
        ValueError: If a series is of a kind that this version does not know.
    """
    rows = [row for one in series for row in rows_of(one)]
    if format_ == "json":
        plain = [{name: _in_words(value) for name, value in row.items()} for row in rows]
        return json.dumps({"version": VERSION, "rows": plain}, allow_nan=False).encode()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def rows_of(series: Series) -> Iterator[Row]:
    """Return a row for every number, or for those that belong together: a bin's, a unit's, an eigenvalue's.

    Raises:
        ValueError: If the series is of a kind that this version does not know.
    """
    kind = series.content.get("kind")
    if kind not in KINDS or series.content.get("v") != VERSION:
        described = f"kind {kind!r}, format {series.content.get('v')!r}"
        raise ValueError(f"{series.tag!r} is of {described}; expected format {VERSION} and one of {', '.join(KINDS)}")
    head = {"run": series.run, "layer": series.content.get("layer", "")}
    for event in series.events:
        for row in KINDS[kind](np.asarray(event.values), series.content):
            yield {**head, "step": event.step, "wall_time": event.wall_time, **row}


def _profile(values: np.ndarray[Any, Any], content: Mapping[str, Any]) -> Iterator[Row]:
    first = "first_lag" if content["kind"] == "influence" else "first_timestep"
    at = 0
    for median, p10, p90, width in values.T.astype(float).tolist():
        yield {first: at, "timesteps": int(width), "log10_median": median, "log10_p10": p10, "log10_p90": p90}
        at += int(width)


def _gates(values: np.ndarray[Any, Any], content: Mapping[str, Any]) -> Iterator[Row]:
    for gate, rows in zip(content["labels"], values, strict=True):
        at = 0
        for *parts, width in rows.T.tolist():
            yield {"gate": gate, "first_timestep": at, "timesteps": width, **_shares(parts)}
            at += width


def _gate_units(values: np.ndarray[Any, Any], content: Mapping[str, Any]) -> Iterator[Row]:
    for gate, rows in zip(content["labels"], values, strict=True):
        for place, parts in enumerate(rows.T.tolist()):
            yield {"gate": gate, "unit": place * content.get("every", 1), **_shares(parts)}


def _eigenvalues(values: np.ndarray[Any, Any], content: Mapping[str, Any]) -> Iterator[Row]:
    for place, (real, imaginary) in enumerate(values.astype(float).tolist()):
        yield {"matrix": content["matrix"], "place": place, "real": real, "imaginary": imaginary}


def _singular_values(values: np.ndarray[Any, Any], content: Mapping[str, Any]) -> Iterator[Row]:
    for place, value in enumerate(values.astype(float).tolist()):
        yield {"matrix": content["matrix"], "place": place, "singular_value": value}


def _exponents(values: np.ndarray[Any, Any], content: Mapping[str, Any]) -> Iterator[Row]:
    for place, value in enumerate(values.astype(float).tolist()):
        yield {"place": place, "nats_per_timestep": value}


def _horizon(values: np.ndarray[Any, Any], content: Mapping[str, Any]) -> Iterator[Row]:
    yield dict(zip(("median", "p10", "p90"), values.astype(float).tolist(), strict=True))


def _cost(values: np.ndarray[Any, Any], content: Mapping[str, Any]) -> Iterator[Row]:
    yield dict(zip(("milliseconds", "share_of_training_time"), values.astype(float).tolist(), strict=True))


KINDS = {
    "grad": _profile,
    "influence": _profile,
    "gates": _gates,
    "gate_units": _gate_units,
    "eig": _eigenvalues,
    "sv": _singular_values,
    "lyapunov": _exponents,
    "horizon": _horizon,
    "cost": _cost,
}
"""What becomes of each kind's numbers; the description of the format is in `rnn_diag.tb.schema`."""


def _shares(parts: list[int]) -> Row:
    """Return the three bytes of a gate as numbers between 0 and 1."""
    values = [math.nan if part == NOT_A_NUMBER else part / WHOLE for part in parts]
    return dict(zip(("mean_within_range", "share_shut", "share_open"), values, strict=True))


def _in_words(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
