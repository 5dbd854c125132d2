"""What a recurrence says of itself, in words that a file can hold."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from rnn_diag.cells import GRUEquations, LSTMEquations, RNNEquations
from rnn_diag.measurements.recurrence import Recurrence


@pytest.mark.parametrize(
    ("equations", "gated", "cell", "gate"),
    [
        (LSTMEquations(), True, True, "forget"),
        (GRUEquations(), True, False, "update"),
        (RNNEquations(), False, False, ""),
    ],
)
def test_it_says_what_the_equations_declare(equations, gated: bool, cell: bool, gate: str) -> None:
    found = Recurrence.of(equations)
    assert (found.kind, found.is_gated, found.has_cell, found.memory_gate) == (equations.name, gated, cell, gate)
    assert Recurrence(**json.loads(json.dumps(asdict(found)))) == found


def test_of_unknown_equations_nothing_is_said() -> None:
    assert Recurrence.of(None) == Recurrence()
