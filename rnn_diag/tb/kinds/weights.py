"""Weights by gate: norms, gradients and updates (`gate_weights`), magnitudes (`weight_maps`), each step's part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rnn_diag.tb.kinds.kind import Array, Fact, Kind, Row, a_count, array_of, names
from rnn_diag.tb.kinds.profile import CONTRIBUTIONS, binned
from rnn_diag.tb.writer import write

MATRICES = ("ih", "hh")
QUANTITIES = ("weight", "grad", "clipped_grad", "update")
DECADES = 4.0
"""Below the largest magnitude that a map tells apart."""
NOT_A_NUMBER, LARGEST = 255, 254
SIDE = 16
"""Rows of a map, and columns of each of its two matrices, at most."""


def _number_rows(values: Array, content: Mapping[str, Any]) -> Iterator[Row]:
    for gate, matrices in zip(content["labels"], values.astype(float).tolist(), strict=True):
        for matrix, numbers in zip(MATRICES, matrices, strict=True):
            yield {"gate": gate, "matrix": matrix, **dict(zip(QUANTITIES, numbers, strict=True))}


def _map_rows(values: Array, content: Mapping[str, Any]) -> Iterator[Row]:
    for gate, parts in zip(content["labels"], values.astype(float), strict=True):
        for name, part in zip(QUANTITIES, parts, strict=False):
            for (row, column), byte in np.ndenumerate(part):
                log10 = np.nan if byte == NOT_A_NUMBER else -np.inf if byte == 0 else DECADES * (byte / LARGEST - 1)
                yield {"gate": gate, "of": name, "row": row, "column": column, "log10_of_largest": float(log10)}


def _cosine_rows(values: Array, content: Mapping[str, Any]) -> Iterator[Row]:
    yield {"cosine": float(values[0])}


GATE_WEIGHTS = Kind(
    "gate_weights",
    "float32",
    ("labels", 2, 4),
    "of each gate, of input and recurrent weights: norms of weights, gradient and clipped gradient, update over weight",
    _number_rows,
    {"labels": Fact(names)},
)
WEIGHT_MAPS = Kind(
    "weight_maps",
    "uint8",
    ("labels", 2, "rows", "columns"),
    "of each gate: magnitudes of weights and of their gradient, four decades below the largest in 1/254; 255 for none",
    _map_rows,
    {"labels": Fact(names), "split": Fact(a_count)},
)
EARLY_LATE = Kind("early_late", "float32", (1,), "cosine between what early and late steps ask", _cosine_rows)


def write_gate_weights(writer: Any, layer: str, step: int, numbers: Mapping[str, Any]) -> None:
    """Write norms by gate.

    Args:
        writer: The logger's writer.
        layer: Name of the recurrent layer.
        step: Training step.
        numbers: For every gate `[2, 4]`: of input and recurrent weights the norm, that of the gradient, of the gradient
            after clipping, and of the update over that of the weights; NaN where it is not known.
    """
    values = np.stack([array_of(one) for one in numbers.values()]).astype(np.float32)
    write(writer, GATE_WEIGHTS.name, layer, step, values, labels=list(numbers))


def write_weight_maps(writer: Any, layer: str, step: int, maps: Mapping[str, Any], *, split: int) -> None:
    """Write the magnitudes of every gate's weights, and of their gradient.

    Args:
        writer: The logger's writer.
        layer: Name of the recurrent layer.
        step: Training step.
        maps: For every gate `[2, rows, columns]`: weights and gradient, input weights left of recurrent ones; NaN for a
            gradient that is not known. Each is written relative to the largest of all gates.
        split: How many columns are of input weights.
    """
    stacked = np.stack([array_of(one) for one in maps.values()]).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = np.where(np.isfinite(stacked), stacked, 0).max(axis=(0, 2, 3), keepdims=True)
        shares = 1 + np.log10(stacked / largest) / DECADES
    levels = np.where(shares == -np.inf, 0, np.clip(shares, 1 / LARGEST, 1)) * LARGEST
    values = np.where(np.isfinite(stacked) & (largest > 0), np.nan_to_num(levels).round(), NOT_A_NUMBER)
    write(writer, WEIGHT_MAPS.name, layer, step, values.astype(np.uint8), labels=list(maps), split=split)


def write_contributions(writer: Any, layer: str, step: int, log10_norms: Any, cosine: float) -> None:
    """Write how much each timestep adds to the gradient of the recurrent weights, and whether early and late cancel.

    Args:
        writer: The logger's writer.
        layer: Name of the recurrent layer.
        step: Training step.
        log10_norms: `[3, time]`, the median, 10th and 90th percentile over the sequences; or `[time]`, the median.
        cosine: See `rnn_diag.diagnostics.early_late_cosine`; NaN where it is not known.

    Raises:
        ValueError: If the norms have another shape.
    """
    write(writer, CONTRIBUTIONS.name, layer, step, binned(log10_norms))
    write(writer, EARLY_LATE.name, layer, step, np.array([cosine], np.float32))
