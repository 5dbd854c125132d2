"""Gates over the timesteps (`gates`) and over the units (`gate_units`): means and saturated shares, a byte each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rnn_diag.tb import schema
from rnn_diag.tb.kinds.kind import (
    Array,
    Fact,
    Kind,
    Row,
    a_count,
    array_of,
    names,
    ranges,
    refuse_widths,
    table_of,
)
from rnn_diag.tb.writer import write

WHOLE = 254
"""The byte that stands for a share of 1."""
NOT_A_NUMBER = 255
MOST_UNITS = 512


def _rows_over_time(values: Array, content: Mapping[str, Any]) -> Iterator[Row]:
    for gate, parts in zip(content["labels"], values, strict=True):
        start = 0
        for *shares, width in parts.T.tolist():
            yield {"gate": gate, "first_timestep": start, "timesteps": width, **_as_shares(shares)}
            start += width


def _rows_over_units(values: Array, content: Mapping[str, Any]) -> Iterator[Row]:
    for gate, parts in zip(content["labels"], values, strict=True):
        for index, shares in enumerate(parts.T.tolist()):
            yield {"gate": gate, "unit": index * content["every"], **_as_shares(shares)}


def _as_shares(parts: list[int]) -> Row:
    values = [math.nan if part == NOT_A_NUMBER else part / WHOLE for part in parts]
    return dict(zip(("mean_within_range", "share_shut", "share_open"), values, strict=True))


LABELLED = {"labels": Fact(names), "ranges": Fact(ranges, [])}
GATES = Kind(
    "gates",
    "uint8",
    ("labels", 4, "bins"),
    "of each gate, over time: mean within its range, shares shut and open, in 1/254; timesteps in each bin",
    _rows_over_time,
    LABELLED,
    refuse_widths,
)
GATE_UNITS = Kind(
    "gate_units",
    "uint8",
    ("labels", 3, "units"),
    "of each gate, over units: mean within its range, shares of time shut and open, in 1/254",
    _rows_over_units,
    {**LABELLED, "units": Fact(a_count, 0), "every": Fact(a_count, 1)},
)


def write_gates(
    writer: Any,
    layer: str,
    step: int,
    gates: Mapping[str, Any],
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    bins: int = schema.TIME_BINS,
) -> None:
    """Write every gate over the timesteps: its mean activation and the shares of units that are shut and open.

    Args:
        writer: The logger's writer.
        layer: Name of the recurrent layer.
        step: Training step.
        gates: For every gate `[3, time]`: mean activation, share shut, share open; or `[2, time]`, the shares alone.
        ranges: The lowest and highest activation of a gate, `(0, 1)` unless given; `(-1, 1)` for a tanh.
        bins: Most bins over time.

    Raises:
        ValueError: If the numbers have another shape.
    """
    ranges = _ranges(gates, ranges)
    stacked = _stacked(gates, ranges)
    starts = schema.bin_starts(stacked.shape[-1], bins)
    widths = np.broadcast_to(schema.bin_widths(stacked.shape[-1], starts), (len(gates), 1, len(starts)))
    shares = _to_bytes(schema.mean_in_bins(stacked, starts))
    numbers = np.concatenate([shares, widths.astype(np.uint8)], axis=1)
    write(writer, GATES.name, layer, step, numbers, labels=list(gates), ranges=list(ranges.values()))


def write_gate_units(
    writer: Any,
    layer: str,
    step: int,
    gates: Mapping[str, Any],
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> None:
    """Write every gate of every unit: its mean activation and the shares of time it is shut and open.

    Of layers with more than 512 units, evenly spaced ones are written, and the tab says so.

    Args:
        writer: The logger's writer.
        layer: Name of the recurrent layer.
        step: Training step.
        gates: For every gate `[3, units]`: mean activation, share shut, share open; or `[2, units]`, the shares alone.
        ranges: The lowest and highest activation of a gate, `(0, 1)` unless given; `(-1, 1)` for a tanh.

    Raises:
        ValueError: If the numbers have another shape.
    """
    ranges = _ranges(gates, ranges)
    stacked = _stacked(gates, ranges)
    units = stacked.shape[-1]
    every = -(-units // MOST_UNITS)
    facts = {"labels": list(gates), "ranges": list(ranges.values()), "units": units, "every": every}
    write(writer, GATE_UNITS.name, layer, step, _to_bytes(stacked[..., ::every]), **facts)


def _ranges(
    gates: Mapping[str, Any], given: Mapping[str, tuple[float, float]] | None
) -> dict[str, tuple[float, float]]:
    return {gate: (given or {}).get(gate, (0.0, 1.0)) for gate in gates}


def _stacked(gates: Mapping[str, Any], ranges: Mapping[str, tuple[float, float]]) -> Array:
    """Return `[gates, 3, n]`, the means as shares of their range."""
    stacked = np.stack([_three_rows(gate, values) for gate, values in gates.items()])
    lowest, highest = np.array(list(ranges.values()), dtype=np.float64).T[..., None]
    stacked[:, 0] = (stacked[:, 0] - lowest) / (highest - lowest)
    return stacked


def _three_rows(gate: str, values: Any) -> Array:
    rows = array_of(values).astype(np.float64)
    if rows.ndim == 2 and rows.shape[0] == 2:
        rows = np.concatenate([np.full((1, rows.shape[1]), np.nan), rows])
    return table_of(rows, f"gate {gate!r}", rows=3)


def _to_bytes(shares: Array) -> Array:
    scaled = (np.clip(shares, 0.0, 1.0) * WHOLE).round()
    return np.where(np.isnan(scaled), NOT_A_NUMBER, scaled).astype(np.uint8)
