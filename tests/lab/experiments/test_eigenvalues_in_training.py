"""A linear recurrent unit in training, small."""

from __future__ import annotations

import pytest

from rnn_diag.lab.experiments.eigenvalues_in_training import EigenvaluesInTraining


def test_eigenvalues_stay_in_the_disc_and_gradients_are_their_powers() -> None:
    outcome = EigenvaluesInTraining(units=6, lag=6, updates=8).run()
    assert outcome.holds and len(outcome.tables[0].rows) == 4
    assert outcome.checks[0].relation == "at most" and outcome.checks[1].tolerance <= 1e-9
    assert "never leaves the disc" in outcome.conclusion.replace("\n", " ")


def test_no_units_are_refused() -> None:
    with pytest.raises(ValueError, match="units=0"):
        EigenvaluesInTraining(units=0)
