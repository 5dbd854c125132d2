"""Layers whose weights are given, and their recorded gradients."""

from __future__ import annotations

import torch
from torch import nn

from rnn_diag.lab.parts.networks import at_the_end, recorded


def test_a_recorded_gradient_is_that_of_autograd_on_an_unrolled_cell() -> None:
    layer, cell = nn.RNN(2, 3, dtype=torch.float64), nn.RNNCell(2, 3, dtype=torch.float64)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    inputs, direction = torch.randn(6, 4, 2).double(), torch.randn(4, 3).double()
    states, hidden = [], torch.zeros(4, 3, dtype=torch.float64)
    for x in inputs:
        hidden = cell(x, hidden)
        hidden.retain_grad()
        states.append(hidden)
    (hidden * direction).sum().backward()
    expected = torch.stack([state.grad for state in states if state.grad is not None])
    assert torch.allclose(recorded(layer, inputs, at_the_end(6, direction)).hidden_grad, expected, atol=1e-14)


def test_recording_leaves_no_gradient_on_the_weights() -> None:
    layer = nn.RNN(1, 1, dtype=torch.float64)
    recorded(layer, torch.zeros(3, 1, 1).double(), torch.ones(3, 1, 1).double())
    assert all(parameter.grad is None for parameter in layer.parameters())
