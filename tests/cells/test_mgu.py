"""The minimal gated unit by hand."""

from __future__ import annotations

import torch

from rnn_diag.cells import MGUEquations, State
from tests.reference.random_layers import random_weights


def test_a_shut_gate_keeps_and_an_open_one_writes_the_candidate() -> None:
    weights, before = random_weights("mgu", units=1), State(torch.tensor([[0.7]], dtype=torch.float64))
    nothing = torch.zeros(1, 2, dtype=torch.float64)
    shut, opened = (MGUEquations().step(torch.tensor([[z, 0.3]]).double(), nothing, before, weights) for z in (-99, 99))
    assert shut.emitted.item() == 0.7
    torch.testing.assert_close(opened.emitted, torch.tensor([[0.3]]).double().tanh())


def test_a_gate_stuck_shut_writes_nothing() -> None:
    assert MGUEquations().harmful["forget", "shut"] == "nothing is written into the state"
