"""Parametrised weights are observed as the kernel was given them, and are not read again."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import rnn_diag.nn
from rnn_diag.capture import record

MODULES = (nn.LSTM(3, 4), nn.GRU(3, 4), nn.LSTMCell(3, 4), nn.GRUCell(3, 4), rnn_diag.nn.LSTM(3, 4, backend="explicit"))


def trained(module: nn.Module, recorded: bool) -> tuple[dict[str, torch.Tensor], list[float | None]]:
    """Take five steps; return the module's state and the self-checks."""
    torch.manual_seed(0)
    module, checks = copy.deepcopy(module), []
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(5):
        recording = record(module)
        if recorded:
            recording.start()
        result = module(torch.randn(2, 3) if isinstance(module, nn.RNNCellBase) else torch.randn(6, 2, 3))
        (result[0] if isinstance(result, tuple) else result).pow(2).sum().backward()
        recording.stop()
        if recorded:
            checks.append(recording["l0"].fidelity)
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.clone() for name, value in module.state_dict().items()}, checks


@pytest.mark.parametrize("module", MODULES, ids=lambda module: type(module).__name__)
@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_recording_a_parametrised_module_is_exact_and_leaves_its_training_alone(module: nn.Module, name: str) -> None:
    weight = "weight_hh" if isinstance(module, nn.RNNCellBase) else "weight_hh_l0"
    parametrised = getattr(parametrizations, name)(copy.deepcopy(module), weight)
    (plain, _), (recorded, checks) = trained(parametrised, False), trained(parametrised, True)
    assert all(torch.equal(recorded[key], plain[key]) for key in plain)
    assert all(check < 1e-5 for check in checks)
