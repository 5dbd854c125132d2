"""Axes have few round numbers."""

from __future__ import annotations

import pytest

from rnn_diag.reporting.images.canvas import round_numbers, short


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 1), (0, 9999), (-8, 4), (-0.003, 0.001), (0, 1e9)])
def test_ticks_are_round_few_and_within_the_range(low, high):
    ticks = round_numbers(low, high, 6)
    assert 1 <= len(ticks) <= 6
    assert all(low - 1e-12 <= tick <= high + 1e-12 for tick in ticks)
    assert [short(tick) for tick in ticks] == sorted({short(t) for t in ticks}, key=[short(t) for t in ticks].index)
