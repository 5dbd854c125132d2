"""Lyapunov exponents (`lyapunov`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rnn_diag.tb.kinds.kind import Array, Kind, Row, array_of
from rnn_diag.tb.writer import write

MOST_EXPONENTS = 64


def _rows(values: Array, content: Mapping[str, Any]) -> Iterator[Row]:
    for index, value in enumerate(values.astype(float).tolist()):
        yield {"place": index, "nats_per_timestep": value}


LYAPUNOV = Kind("lyapunov", "float32", ("k",), "exponents per timestep, largest first", _rows)


def write_lyapunov(writer: Any, layer: str, step: int, exponents: Any) -> None:
    """Write the Lyapunov exponents, per timestep and with the natural logarithm, largest first."""
    values = np.sort(array_of(exponents).astype(np.float32).ravel())[::-1]
    write(writer, LYAPUNOV.name, layer, step, values[:MOST_EXPONENTS])
