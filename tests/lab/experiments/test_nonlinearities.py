"""Single units with a nonlinearity, beside their own equation."""

from __future__ import annotations

import math

import pytest

from rnn_diag.lab.experiments.nonlinearities import Nonlinearities


def test_units_come_to_rest_where_their_equation_says_and_at_its_pace() -> None:
    outcome = Nonlinearities(weights=(0.6, 1.5), biases=(0.0,), steps=120).run()
    assert outcome.holds
    for activation, w, b, _, last, settled, _, half_life in outcome.tables[0].rows:
        if activation == "sigmoid":
            assert last == pytest.approx(1 / (1 + math.exp(-(w * last + b))), abs=1e-9)
            assert settled <= 4
        if activation == "relu" and w == 0.6:
            assert half_life == pytest.approx(math.log(2) / -math.log(0.6), rel=1e-6)
        if activation == "relu" and w == 1.5:
            assert last == pytest.approx(1.5**119)
            assert half_life is None


def test_a_relu_unit_that_grows_is_named_in_the_conclusion() -> None:
    said = Nonlinearities(weights=(0.5, 2.0), biases=(0.0,), steps=40).run().conclusion
    assert "1 of 2 ReLU units never settle" in said
    assert "5.5e+11" in said  # 2 to the 39th
