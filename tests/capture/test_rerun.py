"""A layer's own kernel once more, on what was recorded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import rnn_diag.nn as own
from rnn_diag.capture import Recording
from rnn_diag.capture.rerun import can_rerun, rerun
from rnn_diag.engine.precision import DOUBLE

LAYERS = {
    "LSTM": lambda: nn.LSTM(3, 5, num_layers=2, bidirectional=True),
    "projected": lambda: nn.LSTM(3, 5, num_layers=2, proj_size=2),
    "GRU without biases": lambda: nn.GRU(3, 5, bias=False),
    "relu": lambda: nn.RNN(3, 5, nonlinearity="relu", bidirectional=True),
    "peephole": lambda: own.PeepholeLSTM(3, 5, num_layers=2),
}


def recorded(module: nn.Module, inputs: Any) -> tuple[Any, Any]:
    recording = Recording(module)
    with recording:
        output, final = module(inputs)
        data = output.data if hasattr(output, "batch_sizes") else output
        last = final[0] if isinstance(final, tuple) else final
        (data.square().sum() + last.sum()).backward()
    return recording._layers.modules[""], recording._log.calls[""][0]


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("kind", LAYERS)
def test_it_gives_in_the_calls_own_precision_what_the_call_gave(kind: str, packed: bool) -> None:
    module, inputs = LAYERS[kind](), torch.randn(6, 4, 3, requires_grad=True)
    lengths = torch.tensor([6, 2, 5, 3])
    found, call = recorded(module, pack_padded_sequence(inputs, lengths, enforce_sorted=False) if packed else inputs)
    assert can_rerun(found, [call])
    state = torch.get_rng_state()
    again = rerun(found, call, call.precision)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(again.output, call.output)
    torch.testing.assert_close(again.input_grad, inputs.grad, rtol=1e-5, atol=1e-6)
    for suffix, grads in again.weight_grads.items():
        for name, grad in grads.items():
            torch.testing.assert_close(grad, getattr(module, f"{name}_{suffix}").grad, rtol=1e-5, atol=1e-6)


def test_it_does_not_call_the_module_itself_and_knows_the_weights_of_the_call() -> None:
    module, calls = nn.GRU(3, 5), []
    module.register_forward_hook(lambda *given: calls.append(given))
    found, call = recorded(module, torch.randn(6, 4, 3))
    with torch.no_grad():
        module.weight_hh_l0.zero_()
    assert torch.equal(rerun(found, call, call.precision).output, call.output)
    assert len(calls) == 1


def test_in_double_it_is_the_same_to_single_precision() -> None:
    found, call = recorded(nn.LSTM(3, 5), torch.randn(6, 4, 3))
    exact = rerun(found, call, DOUBLE)
    assert exact.output.dtype == torch.float64
    torch.testing.assert_close(exact.output.float(), call.output, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, own.PeepholeLSTM])
def test_what_was_dropped_between_layers_is_dropped_again(kind: Any, bidirectional: bool, packed: bool) -> None:
    module = kind(3, 5, num_layers=3, dropout=0.4, bidirectional=bidirectional)
    inputs, lengths = torch.randn(6, 4, 3, requires_grad=True), torch.tensor([6, 2, 5, 3])
    found, call = recorded(module, pack_padded_sequence(inputs, lengths, enforce_sorted=False) if packed else inputs)
    assert can_rerun(found, [call])
    again = rerun(found, call, call.precision)
    torch.testing.assert_close(again.output, call.output, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(again.input_grad, inputs.grad, rtol=1e-5, atol=1e-6)
    for suffix, grads in again.weight_grads.items():
        for name, grad in grads.items():
            torch.testing.assert_close(grad, getattr(module, f"{name}_{suffix}").grad, rtol=1e-5, atol=1e-6)


def test_a_stack_with_unknown_masks_and_single_steps_cannot_be_run_again() -> None:
    found, call = recorded(nn.LSTM(3, 5, num_layers=2, dropout=0.5), torch.randn(6, 4, 3))
    call.masks = None
    assert not can_rerun(found, [call])
    cell = nn.GRUCell(3, 5)
    recording = Recording(cell)
    with recording:
        cell(torch.randn(4, 3)).sum().backward()
    assert not can_rerun(recording._layers.modules[""], recording._log.calls[""])
