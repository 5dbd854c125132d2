"""A loss at every step, beside sums worked out by hand."""

from __future__ import annotations

import pytest

from rnn_diag.lab.experiments.dense_loss import DenseLoss, _unit


def test_the_total_gradient_is_a_geometric_sum_and_its_parts_are_powers() -> None:
    unit = _unit(0.5, 8)
    assert unit.dense[-3:].tolist() == [1.75, 1.5, 1.0]
    assert unit.by_lag[:3].tolist() == [1.0, 0.5, 0.25]
    assert unit.last[:1].tolist() == [0.5**7]


def test_horizons_are_counted_by_hand_and_everything_holds() -> None:
    outcome = DenseLoss(weights=(0.9, 0.5), steps=100).run()
    assert {row[0]: row[4] for row in outcome.tables[0].rows} == {0.5: 6.0, 0.9: 43.0}  # 0.9^43 = 0.0108
    assert outcome.holds
    assert "reaches 6 steps back" in outcome.conclusion


def test_a_weight_that_does_not_forget_is_refused() -> None:
    with pytest.raises(ValueError, match=r"weights=.*1.0.*; expected finite numbers above 0 and below 1"):
        DenseLoss(weights=(0.5, 1.0))
