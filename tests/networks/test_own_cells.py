"""Cells that nobody registered are found by what they do, and their gradients are autograd's."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from rnn_diag import examine, record
from rnn_diag.coverage import Status
from tests.networks.own_cells import BATCH, NETWORKS, STEPS, Network


def network(make: type[Network]) -> Network:
    torch.manual_seed(0)
    return make().double()


@pytest.mark.parametrize("make", NETWORKS)
def test_a_cell_is_found_and_its_gradients_are_autograds(make: type[Network]) -> None:
    model = network(make)
    with record(model) as recording:
        model(model.inputs()).backward()
    row = next(one for one in recording.coverage if one.layer == "cell.l0")
    assert row.status is Status.EXACT and model.found in row.reason and "rnn_diag.register" in row.reason
    trace = recording["cell.l0"]
    assert tuple(trace.states) == model.names
    for t, states in enumerate(model.states):
        for name, state in zip(model.names, states, strict=True):
            batch_first = state.transpose(0, 1) if make.__name__ == "StackedState" else state
            grad = torch.zeros_like(state) if state.grad is None else state.grad
            grad = grad.transpose(0, 1) if make.__name__ == "StackedState" else grad
            assert torch.equal(trace.states[name][t], batch_first.detach())
            torch.testing.assert_close(trace.state_grads[name][t], grad, rtol=0, atol=1e-14)
    assert trace.hidden_grad.shape[:2] == (STEPS, BATCH) and bool(trace.hidden_grad.any())


@pytest.mark.parametrize("make", NETWORKS)
def test_the_doctor_judges_a_found_cell_by_its_states(make: type[Network]) -> None:
    model = network(make)
    report = examine(model, model.inputs(), lambda model, inputs: model(inputs))
    assert {one.id for one in report.findings} <= {"hidden_vanishing", "state_not_followed", "vanishing"}
    assert "cell.l0" in report.vitals


@pytest.mark.parametrize("make", NETWORKS)
def test_training_is_the_same_bit_for_bit(make: type[Network]) -> None:
    def trained(recorded: bool) -> list[torch.Tensor]:
        model = network(make)
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for _ in range(3):
            with record(model, sequences=2) if recorded else nullcontext():
                loss = model(model.inputs())
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
        return [loss.detach(), *(one.detach() for one in model.parameters()), torch.get_rng_state()]

    assert all(torch.equal(one, other) for one, other in zip(trained(False), trained(True), strict=True))
