"""The memory horizon (`horizon`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rnn_diag.tb.kinds.kind import Array, Kind, Row, array_of
from rnn_diag.tb.writer import write


def _rows(values: Array, content: Mapping[str, Any]) -> Iterator[Row]:
    yield dict(zip(("median", "p10", "p90"), values.astype(float).tolist(), strict=True))


HORIZON = Kind("horizon", "float32", (3,), "median, p10, p90 in timesteps", _rows)


def write_horizon(writer: Any, layer: str, step: int, timesteps: Any) -> None:
    """Write the memory horizon in timesteps: the median alone, or `[3]` with the 10th and 90th percentile.

    Raises:
        ValueError: If there are two numbers, or more than three.
    """
    values = array_of(timesteps).astype(np.float32).ravel()
    if values.size not in (1, 3):
        raise ValueError(f"the horizon has {values.size} numbers; expected 1 (median) or 3 (median, p10, p90)")
    write(writer, HORIZON.name, layer, step, np.resize(values, 3))
