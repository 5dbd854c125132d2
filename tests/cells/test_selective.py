"""The selective state space, against a plain loop over Mamba's recurrence."""

from __future__ import annotations

import torch
from torch.nn.functional import softplus

import rnn_diag
from rnn_diag.cells import SelectiveEquations
from rnn_diag.diagnostics import log_retention
from rnn_diag.nn import Recurrent

CHANNELS, STATES, STEPS = 2, 3, 6


def test_tied_over_channels_and_states_it_is_the_recurrence_inside_mamba() -> None:
    size, write, read = torch.randn(CHANNELS, 2), torch.randn(STATES, 2), torch.randn(STATES, 2)
    value, decay = torch.randn(CHANNELS, 2), torch.rand(CHANNELS, STATES) + 0.1
    layer = Recurrent(SelectiveEquations, 2, CHANNELS * STATES, bias=False)
    with torch.no_grad():
        rows = [size.repeat_interleave(STATES, 0), write.repeat(CHANNELS, 1), read.repeat(CHANNELS, 1)]
        layer.weight_ih_l0.copy_(torch.cat([*rows, value.repeat_interleave(STATES, 0)]))
        layer.log_decay_l0.copy_(decay.flatten().log())
        layer.skip_l0.zero_()
    inputs, h, expected = torch.randn(STEPS, 2), torch.zeros(CHANNELS, STATES), []
    for x in inputs:
        step = softplus(size @ x).unsqueeze(-1)
        h = (-step * decay).exp() * h + step * (write @ x) * (value @ x).unsqueeze(-1)
        expected.append((h * (read @ x)).sum(-1))
    found = layer(inputs.unsqueeze(1))[0].unflatten(-1, (CHANNELS, STATES)).sum(-1)
    torch.testing.assert_close(found[:, 0], torch.stack(expected))


def test_the_memorys_gradient_is_the_product_of_the_decays() -> None:
    layer = Recurrent(SelectiveEquations, 2, 3).double()
    with rnn_diag.record(layer) as recording:
        _, (_, memory) = layer(torch.randn(5, 2, 2).double())
        memory.sum().backward()
    trace = recording["l0"]
    kept = 1 - trace.gates["step"]
    expected = torch.stack([kept[t + 1 :].prod(0) for t in range(5)])
    torch.testing.assert_close(trace.cell_grad, expected)
    torch.testing.assert_close(log_retention(trace).exp(), expected)
    assert not trace.hidden_grad.any() and trace.fidelity < 1e-12


def test_with_unit_decay_the_step_gate_is_a_sigmoid() -> None:
    layer = Recurrent(SelectiveEquations, 2, 3)
    with torch.no_grad():
        layer.log_decay_l0.zero_()
    with rnn_diag.record(layer) as recording:
        layer(torch.randn(5, 2, 2))
    torch.testing.assert_close(recording["l0"].gates["step"], recording["l0"].preactivations["step"].sigmoid())


def test_steps_start_between_a_thousandth_and_a_tenth() -> None:
    bias = Recurrent(SelectiveEquations, 2, 300).bias_ih_l0.detach()[:300]
    assert softplus(bias).min() > 0.00099 and softplus(bias).max() < 0.101
