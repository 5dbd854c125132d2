"""Measuring keeps to its share of the training time."""

from __future__ import annotations

import math

import pytest

from rnn_diag.callbacks import GateSaturation, GradientNorms
from rnn_diag.callbacks.session.pace import (
    WARM_UP_MEASUREMENTS,
    WARM_UP_SECONDS,
    Cadence,
    Overhead,
    Reading,
    needed_stretch,
)


def test_a_share_is_of_the_time_between_two_readings():
    assert Reading(3.0, 1.5).share_since(Reading(1.0, 1.0)) == 0.25


def test_time_outside_the_blocks_is_not_spent_on_measuring():
    overhead = Overhead()
    assert (overhead.share, overhead.seconds) == (0, 0)
    with overhead.measuring():
        pass
    assert 0 <= overhead.read().spent < overhead.seconds


@pytest.mark.parametrize("share", [0.021, 0.05, 0.2, 0.5, 0.9])
def test_needed_stretch_is_the_least_power_of_two_that_brings_the_share_down(share):
    def stretched(times: float) -> float:
        return share / (share + (1 - share) * times)

    times = needed_stretch(share, 0.02)
    assert stretched(times) <= 0.02 + 1e-12
    assert times == 2 or stretched(times / 2) > 0.02
    assert math.log2(times).is_integer()


def decided(cadence: Cadence, shares: list[float], seconds: float = 0.0) -> list[int]:
    stretches = []
    for share in shares:
        cadence.decide(share, seconds)
        stretches.append(cadence.stretch)
    return stretches


def test_nothing_is_stretched_while_warming_up_nor_without_a_limit():
    assert set(decided(Cadence(0.02), [0.9] * WARM_UP_MEASUREMENTS)) == {1}
    assert set(decided(Cadence(None), [0.9] * 100)) == {1}
    assert set(decided(Cadence(0.02), [0.02] * 100)) == {1}


def test_seconds_end_the_warm_up_too():
    assert decided(Cadence(0.02), [0.5] * 4, WARM_UP_SECONDS + 1) == [1, 1, 1, 64]


def test_it_is_announced_once():
    cadence = Cadence(0.02)
    said = []
    for _ in range(60):
        cadence.decide(0.1, 0.0)
        said.append(cadence.announces)
    assert sum(said) == 1
    assert said[WARM_UP_MEASUREMENTS]


def test_measuring_that_takes_too_long_becomes_rarer_in_a_fit(
    network, batches, trainer, tensorboard, events, monkeypatch
):
    monkeypatch.setattr("rnn_diag.callbacks.session.pace.WARM_UP_MEASUREMENTS", 3)
    said = []
    monkeypatch.setattr("rnn_diag.callbacks.session.session.say", said.append)
    governed, free = GateSaturation(1, max_overhead=1e-4), GradientNorms(2, max_overhead=None)
    trainer(governed, free, logger=tensorboard, max_epochs=4).fit(network(), batches)
    log = events(tensorboard)
    assert len(log.Scalars("saturation/encoder.l0/forget/left")) < 10
    assert len(log.Scalars("gradient_norms/encoder.l0/log10_max")) == 12
    assert log.Scalars("rnn_diag/every_n_steps")[0].value == 1
    assert log.Scalars("rnn_diag/every_n_steps")[-1].value == 2  # the other goes on
    assert len(said) == 1
    assert "more than 0.01% of the training time" in said[0]
