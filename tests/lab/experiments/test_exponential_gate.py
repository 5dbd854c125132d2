"""The exponential gate, beside answers worked out by hand."""

from __future__ import annotations

import math

import pytest

from rnn_diag.lab.experiments.exponential_gate import ExponentialGate


def test_one_input_takes_its_weight_of_the_mean() -> None:
    outcome = ExponentialGate(preactivations=(math.log(3), 0.0), steps=1).run()
    rows = outcome.tables[0].rows
    assert outcome.holds
    assert rows[0][1] == pytest.approx(1 / 2) and rows[1][1] == pytest.approx(1 / 4)
    assert rows[0][3] == pytest.approx(1 / 2) and rows[1][3] == pytest.approx(0.5 / (0.5 + 0.75))


def test_steps_must_be_positive() -> None:
    with pytest.raises(ValueError, match="steps=0"):
        ExponentialGate(steps=0)
