"""Gradients through tanh networks and LSTMs, beside what must come out."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.lab.experiments.carousel import Carousel

SMALL = {"radii": (0.5,), "forget_biases": (0.0, 3.0), "units": 6, "steps": 70}


def test_without_recurrent_weights_only_the_forget_gates_multiply() -> None:
    checks = {check.what: check for check in Carousel(**SMALL).run().checks}  # type: ignore[arg-type]
    alone = [check for what, check in checks.items() if "without recurrent weights" in what]
    assert len(alone) == 4
    assert all(check.predicted == 0.0 and check.measured < 1e-12 for check in alone)


def test_larger_forget_biases_keep_more_and_the_spectral_radius_does_not_say_so() -> None:
    outcome = Carousel(**SMALL).run()  # type: ignore[arg-type]
    lstms = [row for row in outcome.tables[0].rows if row[0] == "LSTM"]
    assert lstms[0][2] == lstms[1][2]
    assert lstms[0][5] < 1e-6 < lstms[1][5]  # type: ignore[operator]


def test_the_same_seed_gives_the_same_numbers_and_moves_no_generator() -> None:
    before = torch.random.get_rng_state()
    first, again = Carousel(**SMALL).run(), Carousel(**SMALL).run()  # type: ignore[arg-type]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.tables[0].rows == again.tables[0].rows


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="steps=59; expected a whole number of at least 60"):
        Carousel(steps=59)
