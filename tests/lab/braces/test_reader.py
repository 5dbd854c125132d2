"""A network that learns to read braces."""

from __future__ import annotations

import torch

from rnn_diag.lab.braces.reader import BraceReader, Training
from rnn_diag.tasks import Braces


def test_learning_lowers_the_loss_and_moves_no_generator(task: Braces) -> None:
    before = torch.random.get_rng_state()
    reader = BraceReader(task, units=8, seed=0)
    losses = reader.learn(task, Training(30, 8, 0.02, 0.5, 0.03, 0.0), seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
