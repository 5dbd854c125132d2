"""The sLSTM: its stabiliser changes nothing, and its heads do not see each other."""

from __future__ import annotations

import pytest
import torch

import rnn_diag
from rnn_diag.cells import SLSTMEquations
from rnn_diag.diagnostics import carousel, log_retention
from rnn_diag.nn import Recurrent


def layer(heads: int = 1) -> Recurrent:
    made = Recurrent(SLSTMEquations(heads), 2, 4).double()
    torch.nn.init.normal_(made.weight_hh_l0)
    return made


def test_it_is_the_recurrence_without_a_stabiliser() -> None:
    slstm, inputs = layer(), torch.randn(6, 3, 2).double()
    h = c = n = torch.zeros(3, 4).double()
    for x in inputs:
        z = x @ slstm.weight_ih_l0.T + slstm.bias_ih_l0 + h @ slstm.weight_hh_l0.T + slstm.bias_hh_l0
        i, f, g, o = z.chunk(4, -1)
        c, n = f.sigmoid() * c + i.exp() * g.tanh(), f.sigmoid() * n + i.exp()
        h = o.sigmoid() * c / n
    found = slstm(inputs)[0][-1]
    torch.testing.assert_close(found, h)
    weights, into = list(slstm.parameters()), torch.randn_like(h)
    ours, plain = (torch.autograd.grad(last, weights, into) for last in (found, h))
    torch.testing.assert_close(ours, plain)


def test_input_gates_that_would_overflow_or_vanish_do_not() -> None:
    slstm = layer().float()
    for size in (-1e4, 1e4):
        with torch.no_grad():
            slstm.bias_ih_l0[:4] = size
        with rnn_diag.record(slstm) as recording:
            slstm(torch.randn(6, 3, 2))[0].sum().backward()
        assert recording["l0"].hidden_grad.isfinite().all() and recording["l0"].hidden.isfinite().all()


def test_heads_do_not_see_each_other() -> None:
    slstm = layer(heads=2)
    h = torch.zeros(1, 1, 4).double().requires_grad_()
    output, _ = slstm(torch.randn(3, 1, 2).double(), (h, torch.zeros(1, 1, 12).double()))
    (grad,) = torch.autograd.grad(output[..., :2].sum(), h)
    assert grad[..., :2].all() and not grad[..., 2:].any()
    assert slstm.weight_hh_l0.shape == (16, 2)


def test_what_a_step_keeps_of_the_weighted_mean_is_one_less_what_it_writes() -> None:
    with rnn_diag.record(slstm := layer()) as recording:
        slstm(torch.randn(6, 3, 2).double())
    trace = recording["l0"]
    normaliser = trace.states["normaliser"]
    written = trace.gates["input"] / normaliser
    kept = log_retention(trace)
    torch.testing.assert_close((kept[:-1] - kept[1:]).exp(), 1 - written[1:])


def test_the_three_parts_of_the_memory_have_names_and_gradients() -> None:
    with rnn_diag.record(slstm := layer()) as recording:
        slstm(torch.randn(6, 3, 2).double())[0].sum().backward()
    trace = recording["l0"]
    assert list(trace.states) == ["hidden", "cell", "memory", "normaliser", "stabiliser"]
    joined = torch.cat([trace.state_grads[name] for name in ("memory", "normaliser", "stabiliser")], dim=-1)
    assert torch.equal(trace.cell_grad, joined) and trace.fidelity < 1e-12  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a memory of several parts"):
        carousel(trace)


def test_heads_must_divide_the_units() -> None:
    with pytest.raises(ValueError, match="heads=3; expected a divisor of the 4 hidden units"):
        Recurrent(SLSTMEquations(3), 2, 4)
