"""Lyapunov exponents over calls and ranks."""

from __future__ import annotations

import math

import pytest

from rnn_diag.measurements.exponents import ExponentSums
from rnn_diag.testing.known import linear_trace


def test_the_mean_over_calls_counts_every_sequence_once() -> None:
    one, other = (ExponentSums.of(linear_trace(weight, steps=20), k=1) for weight in (0.5, 0.25))
    together = one + other
    assert together.count == one.count + other.count
    assert together.numbers["lambda_1"] == pytest.approx((math.log(0.5) + math.log(0.25)) / 2)
    assert together.numbers["lambda_1_spread"] == pytest.approx(math.log(2) / 2)
    assert one.numbers["lambda_1_spread"] == pytest.approx(0.0, abs=1e-6)


def test_no_more_exponents_are_asked_for_than_the_state_has_units() -> None:
    assert len(ExponentSums.of(linear_trace(0.5, steps=20), k=64).mean) == 1
