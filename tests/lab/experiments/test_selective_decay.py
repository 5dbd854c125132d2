"""What a selective state space keeps, small."""

from __future__ import annotations

import pytest

from rnn_diag.lab.experiments.selective_decay import SelectiveDecay


def test_a_gradient_is_the_product_of_the_shares_kept_and_what_was_learned_is_said() -> None:
    outcome = SelectiveDecay(lags=(6, 2), units=8, updates=60).run()
    assert outcome.holds and [row[0] for row in outcome.tables[0].rows] == [2, 6]
    assert outcome.tables[0].rows[0][1] < 0.5  # it learns the shorter lag
    assert "is learned at lag 2" in outcome.conclusion


def test_lags_must_be_positive() -> None:
    with pytest.raises(ValueError, match="lags"):
        SelectiveDecay(lags=(0,))
