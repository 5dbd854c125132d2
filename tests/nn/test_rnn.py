"""The plain layer: torch's arguments, and two nonlinearities more."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnn_diag.nn import RNN


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_what_torch_has_it_runs_by_torchs_kernel_and_by_its_equations_alike(nonlinearity: str) -> None:
    ours = RNN(3, 4, nonlinearity=nonlinearity, backend="explicit", dtype=torch.float64)
    torchs = nn.RNN(3, 4, nonlinearity=nonlinearity, dtype=torch.float64)
    torchs.load_state_dict(ours.state_dict())
    inputs = torch.randn(6, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(ours(inputs)[0], torchs(inputs)[0], rtol=1e-12, atol=1e-14)
    assert ours.has_fused_kernel and ours.runs_equations
    assert not RNN(3, 4, nonlinearity=nonlinearity).runs_equations


@pytest.mark.parametrize("nonlinearity", ["sigmoid", "identity"])
def test_what_torch_has_not_runs_by_its_equations_and_says_so(nonlinearity: str) -> None:
    layer = RNN(3, 4, nonlinearity=nonlinearity)
    assert layer.runs_equations and f"nonlinearity={nonlinearity}" in repr(layer)
    with pytest.raises(ValueError, match=r"backend='fused': torch has no kernel .*choices: auto, explicit"):
        RNN(3, 4, nonlinearity=nonlinearity, backend="fused")
