"""The LSTM, by hand."""

from __future__ import annotations

from math import exp, tanh

import pytest
import torch

from rnn_diag.cells.equations import State
from rnn_diag.cells.lstm import LSTMEquations
from rnn_diag.cells.weights import Weights


def sigmoid(z: float) -> float:
    return 1 / (1 + exp(-z))


def test_the_memory_is_what_is_kept_and_what_is_written_and_the_output_gate_shows_it() -> None:
    x, u, c = (0.3, -0.4, 0.8, 0.1), (0.2, 0.9, -0.6, -0.5), 0.7
    weights = Weights(torch.ones(4, 1), torch.ones(4, 1))
    given = (torch.tensor([x], dtype=torch.float64), torch.tensor([u], dtype=torch.float64))
    before = State(torch.zeros(1, 1, dtype=torch.float64), torch.tensor([[c]], dtype=torch.float64))
    step = LSTMEquations().step(*given, before, weights)
    i, f, o = (sigmoid(x[k] + u[k]) for k in (0, 1, 3))
    memory = f * c + i * tanh(x[2] + u[2])
    assert float(step.cell) == pytest.approx(memory, rel=1e-12)
    assert float(step.emitted) == pytest.approx(o * tanh(memory), rel=1e-12)
