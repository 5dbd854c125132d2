"""Where one resting state becomes two."""

from __future__ import annotations

import math

import pytest

from rnn_diag.lab.experiments.pitchfork import Pitchfork


def test_two_resting_places_appear_at_one() -> None:
    outcome = Pitchfork(lowest=0.5, highest=2.0, count=4, steps=150).run()
    assert outcome.holds
    rests = {row[0]: row[2] for row in outcome.tables[0].rows}
    assert rests[0.5] == pytest.approx(0.0, abs=1e-12)
    assert rests[2.0] == pytest.approx(math.tanh(2 * rests[2.0]), abs=1e-12)
    assert rests[2.0] > 0.95
    assert rests[1.0] == pytest.approx(math.sqrt(3 / 300), rel=0.05)


def test_a_range_without_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"highest=0\.9; expected a finite number above 1"):
        Pitchfork(highest=0.9)
