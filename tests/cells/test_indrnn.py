"""The independently recurrent network: each unit's gradient is a power of its own weight."""

from __future__ import annotations

import pytest
import torch

import rnn_diag
from rnn_diag.cells import IndRNNEquations
from rnn_diag.nn import Recurrent


def test_a_units_gradient_is_its_weight_to_the_steps_remaining() -> None:
    layer = Recurrent(IndRNNEquations("identity"), 1, 2).double()
    with torch.no_grad():
        layer.weight_hh_l0[:] = torch.tensor([0.5, 0.9])
    with rnn_diag.record(layer) as recording:
        layer(torch.randn(4, 1, 1).double())[0][-1].sum().backward()
    trace = recording["l0"]
    expected = layer.weight_hh_l0.detach() ** torch.arange(3, -1, -1).unsqueeze(1)
    torch.testing.assert_close(trace.hidden_grad[:, 0], expected)
    assert trace.is_faithful
    eigenvalues = torch.linalg.eigvals(trace.recurrent_weights["hidden"]).real.sort().values
    torch.testing.assert_close(eigenvalues, torch.tensor([0.5, 0.9]).double())


def test_recurrent_weights_start_between_forgetting_and_keeping() -> None:
    weights = Recurrent(IndRNNEquations, 3, 500).weight_hh_l0.detach()
    assert weights.min() >= 0 and weights.max() <= 1 and weights.mean() == pytest.approx(0.5, abs=0.06)
