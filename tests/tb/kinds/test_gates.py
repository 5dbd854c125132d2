"""Gates are written as shares of a byte, with a mark for what is no number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnn_diag.tb import kinds, schema
from tests.tb.serving import series, written

LAYER = "encoder.l0"


def test_gates_outside_zero_to_one_are_written_within_their_range(tmp_path: Path) -> None:
    gates = {"candidate": [[-1.0, 0.0, 1.0], [0, 0, 0], [0, 0, 0]]}
    client = written(tmp_path, lambda log: kinds.write_gates(log, LAYER, 0, gates, ranges={"candidate": (-1, 1)}))
    _, (row,) = series(client, "run", schema.tag_of("gates", LAYER))
    assert row[0, 0].tolist() == [0, 127, 254]


def test_a_gate_without_a_number_is_marked(tmp_path: Path) -> None:
    gates = {"forget": [[np.nan, 0.5], [0, 0], [0, 0]]}
    client = written(tmp_path, lambda log: kinds.write_gate_units(log, LAYER, 0, gates))
    _, (row,) = series(client, "run", schema.tag_of("gate_units", LAYER))
    assert row[0, 0].tolist() == [255, 127]


def test_gates_without_a_mean_are_written_without(tmp_path: Path) -> None:
    client = written(tmp_path, lambda log: kinds.write_gates(log, LAYER, 0, {"forget": [[0.0, 1.0], [1.0, 0.0]]}))
    _, (row,) = series(client, "run", schema.tag_of("gates", LAYER))
    assert row[0].tolist() == [[255, 255], [0, 254], [254, 0], [1, 1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: kinds.write_gates(None, LAYER, 0, {"forget": np.zeros((4, 5))}),
            r"gate 'forget' has the shape \[4, 5\]",
        ),
    ],
)
def test_what_cannot_be_written_is_said(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
