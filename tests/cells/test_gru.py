"""The GRU in torch's form, by hand."""

from __future__ import annotations

from math import exp, tanh

import pytest
import torch

from rnn_diag.cells.equations import State
from rnn_diag.cells.gru import GRUEquations
from rnn_diag.cells.weights import Weights


def sigmoid(z: float) -> float:
    return 1 / (1 + exp(-z))


def test_the_reset_gate_acts_after_the_recurrent_product_and_the_update_gate_remembers() -> None:
    x, u, h = (0.3, -0.4, 0.8), (0.2, 0.9, -0.6), 0.5
    weights = Weights(torch.ones(3, 1), torch.ones(3, 1))
    given = (torch.tensor([x], dtype=torch.float64), torch.tensor([u], dtype=torch.float64))
    step = GRUEquations().step(*given, State(torch.tensor([[h]], dtype=torch.float64)), weights)
    r, z = sigmoid(x[0] + u[0]), sigmoid(x[1] + u[1])
    n = tanh(x[2] + r * u[2])
    assert float(step.emitted) == pytest.approx((1 - z) * n + z * h, rel=1e-12)
    assert [float(gate) for gate in step.gates] == pytest.approx([r, z, n], rel=1e-12)
