"""Bounded inputs, beside sums worked out by hand."""

from __future__ import annotations

import math

import pytest

from rnn_diag.lab.experiments.bounded_inputs import BoundedInputs


def test_the_integrator_answers_a_kick_with_one_and_a_lasting_input_with_the_number_of_steps() -> None:
    outcome = BoundedInputs(weights=(1.0,), steps=30).run()
    rows = {row[0]: row[2:] for row in outcome.tables[0].rows}
    assert rows["linear"][:3] == ("integrator", pytest.approx(1.0), pytest.approx(30.0))
    assert outcome.holds
    assert "reaches 30 under an input of 1 that lasts 30 steps" in outcome.conclusion


def test_the_tanh_unit_stays_bounded_and_saturates() -> None:
    rows = BoundedInputs(weights=(0.5, 1.5), steps=30).run().tables[0].rows
    for unit, w, _, _, last, share in rows:
        if unit == "tanh":
            assert last == pytest.approx(math.tanh(w * last + 1), abs=1e-9)
            assert abs(last) < 1
            assert share == pytest.approx(29 / 30 if last > 0.9 else 0.0, abs=0.05)
        else:
            assert share is None


def test_weights_that_are_not_positive_are_refused() -> None:
    with pytest.raises(ValueError, match=r"weights=.*-1\.0.*; expected finite numbers above 0"):
        BoundedInputs(weights=(-1.0,))
