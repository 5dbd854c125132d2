"""What measuring cost (`cost`), of the whole run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rnn_diag.tb.kinds.kind import Array, Kind, Row
from rnn_diag.tb.writer import write


def _rows(values: Array, content: Mapping[str, Any]) -> Iterator[Row]:
    yield dict(zip(("milliseconds", "share_of_training_time"), values.astype(float).tolist(), strict=True))


COST = Kind("cost", "float32", (2,), "milliseconds per measurement, share of training time", _rows)


def write_cost(writer: Any, step: int, milliseconds: float, share: float) -> None:
    """Write what measuring cost: milliseconds for this measurement, and its share of the training time (0 to 1)."""
    write(writer, COST.name, "", step, np.array([milliseconds, share], dtype=np.float32))
