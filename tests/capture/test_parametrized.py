"""Parametrised weights are observed as the kernel was given them, and are not read again."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import rnn_diag.nn
from rnn_diag.capture import record
from rnn_diag.coverage import Status

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


class Redrawn(nn.Module):
    """Drops other entries of a weight whenever it is read."""

    def forward(self, weight: Tensor) -> Tensor:
        return nn.functional.dropout(weight, 0.5)


@pytest.mark.parametrize("cached", [False, True])
def test_a_cell_whose_weights_change_from_call_to_call_has_states_and_totals_alone(cached: bool) -> None:
    torch.manual_seed(0)
    cell = nn.GRUCell(3, 4).double()
    parametrize.register_parametrization(cell, "weight_hh", Redrawn())
    states, state = [], torch.zeros(2, 4, dtype=torch.float64)
    with record(cell) as recording, parametrize.cached() if cached else nullcontext():
        for x in torch.randn(5, 2, 3, dtype=torch.float64):
            state = cell(x, state)
            state.retain_grad()
            states.append(state)
        state.sum().backward()
    trace, (coverage,) = recording["l0"], recording.coverage
    assert trace.has_equations is cached and coverage.status is Status.EXACT
    torch.testing.assert_close(trace.hidden_grad, torch.stack([one.grad for one in states]), rtol=0, atol=1e-14)
    assert ("change from call to call" in coverage.reason) is not cached
