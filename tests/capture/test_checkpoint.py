from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rnn_diag import record
from rnn_diag.capture import Recording

BOTH = pytest.mark.parametrize("reentrant", [True, False])


class Block(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.drop = nn.Dropout(dropout)
        self.rnn = nn.LSTM(3, 4, num_layers=2, dropout=dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.rnn(self.drop(inputs))[0]


def recorded(model: nn.Module, inputs: Tensor, **options: bool) -> tuple[Recording, Tensor]:
    torch.manual_seed(1)
    with record(model) as recording:
        output = checkpoint(model, inputs, **options) if options else model(inputs)
        output.pow(2).sum().backward()
    return recording, torch.get_rng_state()


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@BOTH
def test_a_checkpointed_layer_has_the_gradients_that_it_has_without(reentrant: bool, dropout: float) -> None:
    model = Block(dropout).double()
    inputs = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    plain, _ = recorded(model, inputs)
    again, _ = recorded(model, inputs, use_reentrant=reentrant)
    for layer in ("rnn.l0", "rnn.l1"):
        torch.testing.assert_close(again[layer].hidden_grad, plain[layer].hidden_grad, rtol=0, atol=1e-15)
        assert again[layer].fidelity < 1e-13


@BOTH
def test_random_numbers_that_are_not_preserved_leave_one_call(reentrant: bool) -> None:
    inputs = torch.randn(5, 2, 3, requires_grad=True)
    recording, _ = recorded(Block(0.5), inputs, use_reentrant=reentrant, preserve_rng_state=False)
    assert len(recording.calls("rnn.l1")) == 1
    assert recording["rnn.l1"].has_gradients


@BOTH
def test_the_same_block_checkpointed_twice_is_two_calls(reentrant: bool) -> None:
    model, inputs = nn.GRU(3, 3).double(), torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    with record(model) as plain:
        (model(model(inputs)[0])[0].sum() + model(inputs)[0].pow(2).sum()).backward()
    with record(model) as recording:
        first, _ = checkpoint(model, inputs, use_reentrant=reentrant)
        second, _ = checkpoint(model, first, use_reentrant=reentrant)
        third, _ = checkpoint(model, inputs, use_reentrant=reentrant)
        (second.sum() + third.pow(2).sum()).backward()
    for ours, theirs in zip(recording.calls("l0"), plain.calls("l0"), strict=True):
        torch.testing.assert_close(ours.hidden_grad, theirs.hidden_grad, rtol=0, atol=1e-14)
        assert ours.fidelity < 1e-13


@pytest.mark.parametrize("segment", [6, 2], ids=["one checkpoint", "three checkpoints"])
@pytest.mark.parametrize("constant", [False, True], ids=["varied input", "constant input"])
@BOTH
def test_a_loop_over_a_cell_inside_checkpoints_is_one_trace(reentrant: bool, constant: bool, segment: int) -> None:
    cell = nn.LSTMCell(3, 4).double()
    inputs = torch.ones(6, 2, 3, dtype=torch.float64) if constant else torch.randn(6, 2, 3, dtype=torch.float64)
    start = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)

    def run(steps: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        for step in steps:
            hidden, memory = cell(step, (hidden, memory))
        return hidden, memory

    traces = []
    for checkpointed in (False, True):
        state = (start, start.clone())
        with record(cell) as recording:
            for steps in inputs.split(segment):
                state = checkpoint(run, steps, *state, use_reentrant=reentrant) if checkpointed else run(steps, *state)
            state[0].pow(2).sum().backward()
        traces.append(recording["l0"])
    plain, again = traces
    for field in ("hidden", "hidden_grad", "cell_grad", "hidden_grad_direct"):
        torch.testing.assert_close(getattr(again, field), getattr(plain, field), rtol=0, atol=1e-14, msg=field)
    assert again.fidelity < 1e-13


@BOTH
def test_recording_disturbs_no_checkpoint(reentrant: bool) -> None:
    inputs = torch.randn(5, 2, 3, requires_grad=True)
    model = Block(0.5)
    _, after_recording = recorded(model, inputs, use_reentrant=reentrant)
    grads = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkpoint(model, inputs, use_reentrant=reentrant).pow(2).sum().backward()
    assert torch.equal(torch.get_rng_state(), after_recording)
    assert all(torch.equal(parameter.grad, grad) for parameter, grad in zip(model.parameters(), grads, strict=True))


def test_a_forward_pass_for_a_metric_does_not_count_beside_one_that_trains() -> None:
    module, inputs = nn.GRU(3, 4), torch.randn(5, 2, 3)
    with record(module) as recording:
        with torch.no_grad():
            module(inputs)
        module(inputs)[0].sum().backward()
    assert recording["l0"].has_gradients
