"""Of a long run, series are written at the first steps, ever more rarely, where numbers change, and at the last."""

from __future__ import annotations

import math

import pytest

from rnn_diag.callbacks import GradientNorms
from rnn_diag.callbacks.session import thinning
from rnn_diag.callbacks.session.thinning import FULL, Thinning


def chosen(thinning: Thinning, values: list[float]) -> list[int]:
    return [step for step, value in enumerate(values) if thinning.chooses({"l0/steps": value})]


def test_all_of_a_short_run_is_chosen_and_half_as_many_in_each_doubling() -> None:
    steps = chosen(Thinning(), [1.0] * 8 * FULL)
    assert steps[:FULL] == list(range(FULL))
    for octave in range(3):
        within = [step for step in steps if FULL << octave <= step < FULL << octave + 1]
        assert len(within) == FULL // 2


@pytest.mark.parametrize("other", [20.0, math.nan, math.inf])
def test_a_step_at_which_a_number_changed_is_chosen(other: float) -> None:
    values = [1.0] * 8 * FULL
    values[4 * FULL + 3] = other
    steps = chosen(Thinning(), values)
    assert 4 * FULL + 3 in steps and 4 * FULL + 2 not in steps
    assert 4 * FULL + 4 in steps  # where it is as it was


def test_numbers_that_always_change_are_chosen_twice_as_often_at_most() -> None:
    quiet, noisy = (len(chosen(Thinning(), [factor * (step % 2) for step in range(40_000)])) for factor in (0.0, 9.0))
    assert noisy <= 2 * quiet <= 2 * (FULL + FULL // 2 * math.log2(40_000 / FULL) + 2)


def test_a_log_holds_the_first_the_chosen_and_the_last_measured_step(
    network, batches, trainer, tensorboard, events, monkeypatch
):
    monkeypatch.setattr(thinning, "FULL", 2)
    trainer(GradientNorms(1, max_overhead=None), logger=tensorboard, max_epochs=3).fit(network(), batches)
    log = events(tensorboard)
    assert [one.step for one in log.Scalars("gradient_norms/encoder.l0/log10_max")] == list(range(18))
    steps = [one.step for one in log.Tensors("rnn_diag/encoder.l0/grad")]
    assert {0, 1, 2, 4, 8, 16, 17} <= set(steps) and len(steps) < 14
    assert log.Tensors("rnn_diag/cost")[0].step == 0
