"""The LSTM whose gates see the memory, by hand."""

from __future__ import annotations

from math import exp, tanh

import pytest
import torch

from rnn_diag.cells.equations import State
from rnn_diag.cells.peephole_lstm import PEEPHOLES, PeepholeLSTMEquations
from rnn_diag.cells.weights import Weights


def sigmoid(z: float) -> float:
    return 1 / (1 + exp(-z))


def test_input_and_forget_gate_see_the_old_memory_and_the_output_gate_the_new_one() -> None:
    z, c, p = (0.5, 0.5, 0.2, -0.4), 0.7, (0.3, -0.6, 0.9)
    extra = {name: torch.tensor([value], dtype=torch.float64) for name, value in zip(PEEPHOLES, p, strict=True)}
    weights = Weights(torch.ones(4, 1), torch.ones(4, 1), extra=extra)
    before = State(torch.zeros(1, 1, dtype=torch.float64), torch.tensor([[c]], dtype=torch.float64))
    projected = torch.tensor([z], dtype=torch.float64)
    step = PeepholeLSTMEquations().step(projected, torch.zeros_like(projected), before, weights)
    memory = sigmoid(z[1] + p[1] * c) * c + sigmoid(z[0] + p[0] * c) * tanh(z[2])
    assert float(step.cell) == pytest.approx(memory, rel=1e-12)
    assert float(step.emitted) == pytest.approx(sigmoid(z[3] + p[2] * memory) * tanh(memory), rel=1e-12)


def test_the_peepholes_gradients_are_autograds() -> None:
    torch.manual_seed(0)
    equations = PeepholeLSTMEquations()
    extra = {name: torch.randn(3, dtype=torch.float64, requires_grad=True) for name in PEEPHOLES}
    weights = Weights(torch.ones(12, 1), torch.ones(12, 3), extra=extra)
    before = State(torch.zeros(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64))
    projected = torch.randn(2, 12, dtype=torch.float64)
    step = equations.step(projected, torch.zeros_like(projected), before, weights)
    grad = torch.randn(2, 3, dtype=torch.float64)
    expected = torch.autograd.grad(step.emitted, list(extra.values()), grad)
    with torch.no_grad():
        delta = equations.adjoint(step, before, grad, None, weights).projected_grad
        d_i, d_f, _, d_o = delta.chunk(4, dim=-1)
        found = [(d_i * before.cell).sum(0), (d_f * before.cell).sum(0), (d_o * step.cell).sum(0)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
