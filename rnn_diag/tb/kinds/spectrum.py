"""Eigenvalues (`eig`) and singular values (`sv`) of the recurrent matrices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rnn_diag.tb.kinds.kind import Array, Fact, Kind, Row, a_name, array_of, largest_first, table_of
from rnn_diag.tb.writer import write

MOST_EIGENVALUES = 128
MOST_SINGULAR_VALUES = 64


def _eigenvalue_rows(values: Array, content: Mapping[str, Any]) -> Iterator[Row]:
    for index, (real, imaginary) in enumerate(values.astype(float).tolist()):
        yield {"matrix": content["matrix"], "place": index, "real": real, "imaginary": imaginary}


def _singular_value_rows(values: Array, content: Mapping[str, Any]) -> Iterator[Row]:
    for index, value in enumerate(values.astype(float).tolist()):
        yield {"matrix": content["matrix"], "place": index, "singular_value": value}


MATRIX = {"matrix": Fact(a_name)}
EIGENVALUES = Kind(
    "eig", "float32", ("n", 2), "real and imaginary parts, largest modulus first", _eigenvalue_rows, MATRIX
)
SINGULAR_VALUES = Kind("sv", "float32", ("n",), "singular values, largest first", _singular_value_rows, MATRIX)


def write_eigenvalues(writer: Any, layer: str, step: int, eigenvalues: Any, *, matrix: str = "W_hh") -> None:
    """Write the eigenvalues of a recurrent matrix, complex or `[n, 2]`; the 128 of largest modulus are kept.

    `matrix` says of what: `W_hh` where there is one block, else the gate whose block it is, or `jacobian`.
    """
    values = array_of(eigenvalues)
    if not np.iscomplexobj(values):
        values = table_of(values, "eigenvalues", columns=2)
        values = values[:, 0] + 1j * values[:, 1]
    values = largest_first(values.ravel(), MOST_EIGENVALUES)
    pairs = np.stack([values.real, values.imag], axis=-1).astype(np.float32)
    write(writer, EIGENVALUES.name, layer, step, pairs, part=matrix, matrix=matrix)


def write_singular_values(writer: Any, layer: str, step: int, singular_values: Any, *, matrix: str = "W_hh") -> None:
    """Write the singular values of a recurrent matrix; the 64 largest are kept."""
    values = largest_first(array_of(singular_values).astype(np.float32).ravel(), MOST_SINGULAR_VALUES)
    write(writer, SINGULAR_VALUES.name, layer, step, values, part=matrix, matrix=matrix)
