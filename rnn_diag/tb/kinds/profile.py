"""Profiles: log10 norms over the timesteps (`grad`, `contributions`) or over the lag (`influence`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from rnn_diag.tb import schema
from rnn_diag.tb.kinds.kind import Array, Fact, Kind, Row, a_name, array_of, refuse_widths, table_of
from rnn_diag.tb.writer import write


def _rows(first: str) -> Callable[[Array, Mapping[str, Any]], Iterator[Row]]:
    def rows(values: Array, content: Mapping[str, Any]) -> Iterator[Row]:
        start = 0
        for median, p10, p90, width in values.T.astype(float).tolist():
            yield {first: start, "timesteps": int(width), "log10_median": median, "log10_p10": p10, "log10_p90": p90}
            start += int(width)

    return rows


HOLDS = "log10 median, p10, p90; timesteps in each bin"
GRADIENTS = Kind(
    *("grad", "float16", (4, "bins"), HOLDS, _rows("first_timestep")), {"cell": Fact(a_name, "")}, refuse_widths
)
CONTRIBUTIONS = Kind("contributions", "float16", (4, "bins"), HOLDS, _rows("first_timestep"), refuse=refuse_widths)
INFLUENCE = Kind("influence", "float16", (4, "bins"), HOLDS, _rows("first_lag"), refuse=refuse_widths)


def write_gradients(
    writer: Any, layer: str, step: int, log10_norms: Any, *, cell: str = "", bins: int = schema.TIME_BINS
) -> None:
    r"""Write the profile of :math:`\log_{10} \lVert \partial L / \partial h_t \rVert` over the timesteps.

    Sequences longer than `bins` are written as the largest value of each of `bins` equal spans. The length may differ
    from step to step. Zero is minus infinity, an overflow plus infinity.

    Args:
        writer: The logger's writer.
        layer: Name of the recurrent layer.
        step: Training step.
        log10_norms: `[3, time]`, the median, 10th and 90th percentile over the sequences; or `[time]`, the median.
        cell: What the recurrence is, such as `"lstm"`; shown on the layer's card.
        bins: Most bins over time.

    Raises:
        ValueError: If the numbers have another shape.
    """
    write(writer, GRADIENTS.name, layer, step, binned(log10_norms, bins), cell=cell)


def write_influence(writer: Any, layer: str, step: int, log10_norms: Any, *, bins: int = schema.TIME_BINS) -> None:
    """Write how strongly the loss at a step depends on the hidden state `lag` steps before, as log10, lag 0 first.

    Args:
        writer: The logger's writer.
        layer: Name of the recurrent layer.
        step: Training step.
        log10_norms: `[3, lags]`, the median, 10th and 90th percentile; or `[lags]`, the median.
        bins: Most bins over the lags.

    Raises:
        ValueError: If the numbers have another shape.
    """
    write(writer, INFLUENCE.name, layer, step, binned(log10_norms, bins))


def binned(log10_norms: Any, bins: int = schema.TIME_BINS) -> Array:
    """Return a profile as it is stored: its largest values in bins of timesteps, and how many each bin holds.

    Raises:
        ValueError: If the numbers have another shape.
    """
    rows = np.atleast_2d(array_of(log10_norms)).astype(np.float64)
    if rows.shape[0] == 1:
        rows = np.concatenate([rows, np.full((2, rows.shape[1]), np.nan)])
    rows = table_of(rows, "log10 norms", rows=3)
    starts = schema.bin_starts(rows.shape[1], bins)
    widths = schema.bin_widths(rows.shape[1], starts)[None]
    return np.concatenate([schema.largest_in_bins(rows, starts), widths]).astype(np.float16)
