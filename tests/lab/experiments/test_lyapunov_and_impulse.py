"""Exponents and kicks of small networks, beside known exponents."""

from __future__ import annotations

import math

import pytest
import torch

from rnn_diag.lab.experiments.lyapunov_and_impulse import LyapunovAndImpulse

SMALL = LyapunovAndImpulse(units=4, many_units=60, steps=160, lags=31)


def test_the_exponents_of_small_networks_are_the_known_ones() -> None:
    before = torch.random.get_rng_state()
    rows = {row[0]: row for row in SMALL.run().tables[0].rows}
    assert torch.equal(torch.random.get_rng_state(), before)
    assert rows["linear"][2] == pytest.approx(math.log(0.95))
    assert rows["linear"][3] == pytest.approx(math.log(0.95), abs=0.02)
    assert rows["LSTM, forgets"][3] == pytest.approx(math.log(0.9), rel=1e-9)
    assert rows["LSTM, forgets"][4] == pytest.approx(math.log(0.9), rel=1e-9)


def test_mean_field_theory_gives_the_published_exponent_of_gain_three() -> None:
    rows = {row[0]: row for row in SMALL.run().tables[0].rows}
    assert rows["tanh, g = 3"][2] == pytest.approx(0.30, abs=0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"radius": 1.0}, "radius=1.0; expected a finite number above 0 and below 1"),
        ({"chaotic_gain": 0.9}, "chaotic_gain=0.9; expected a finite number above 1"),
        ({"lags": 300}, "lags=300; expected fewer than half of steps=400"),
    ],
)
def test_settings_that_contradict_the_question_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LyapunovAndImpulse(**settings)  # type: ignore[arg-type]
