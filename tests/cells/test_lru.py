"""The linear recurrent unit: its real parts are the complex recurrence, and its eigenvalues are the λ themselves."""

from __future__ import annotations

import torch

import rnn_diag
from rnn_diag.cells import LRUEquations
from rnn_diag.cells.product import complex_of
from rnn_diag.diagnostics import lyapunov_exponents
from rnn_diag.nn import Recurrent


def test_states_and_total_gradients_are_those_of_a_complex_network_under_autograd() -> None:
    layer = Recurrent(LRUEquations, 2, 6).double()
    inputs, into = torch.randn(5, 3, 2).double(), torch.randn(5, 3, 3, dtype=torch.complex128)
    with rnn_diag.record(layer) as recording:
        output, _ = layer(inputs)
        (into * complex_of(output)).real.square().sum().backward()
    trace = recording["l0"]
    eigenvalues = LRUEquations.eigenvalues(layer.weight_hh_l0.detach())
    gain = layer.gain_l0.detach().exp()
    h, states = torch.zeros(3, 3, dtype=torch.complex128), []
    for x in inputs:
        product = complex_of(torch.nn.functional.linear(x, layer.weight_ih_l0, layer.bias_ih_l0)).detach()
        h = eigenvalues * h + gain * product + complex_of(layer.bias_hh_l0.detach())
        h.requires_grad_() if not states else h.retain_grad()
        states.append(h)
    (into * torch.stack(states)).real.square().sum().backward()
    torch.testing.assert_close(complex_of(trace.hidden), torch.stack(states).detach())
    expected = torch.stack([state.grad for state in states])
    torch.testing.assert_close(complex_of(trace.hidden_grad), expected)
    torch.testing.assert_close(trace.hidden_grad.norm(dim=-1), expected.norm(dim=-1))
    assert trace.fidelity < 1e-12


def test_the_spectrum_is_lambda_and_its_conjugates_and_lyapunov_exponents_are_its_logs() -> None:
    layer = Recurrent(LRUEquations, 1, 4).double()
    with rnn_diag.record(layer) as recording:
        layer(torch.randn(30, 1, 1).double())[0].sum().backward()
    trace = recording["l0"]
    eigenvalues = LRUEquations.eigenvalues(layer.weight_hh_l0.detach())
    found = torch.linalg.eigvals(trace.recurrent_weights["hidden"])
    expected = torch.cat((eigenvalues, eigenvalues.conj()))
    assert all((found - one).abs().min() < 1e-12 for one in expected)
    exponents = lyapunov_exponents(trace, 4).flatten().sort(descending=True).values
    logs = eigenvalues.abs().log().repeat(2).sort(descending=True).values
    torch.testing.assert_close(exponents, logs, atol=0.1, rtol=0.1)  # of 30 steps


def test_eigenvalues_start_evenly_in_their_ring_and_what_enters_keeps_the_states_variance() -> None:
    layer = Recurrent(LRUEquations(0.5, 0.9), 3, 2000)
    sizes = LRUEquations.eigenvalues(layer.weight_hh_l0.detach()).abs()
    assert sizes.min() >= 0.5 and sizes.max() <= 0.9
    inside = (sizes < (0.5 * (0.5**2 + 0.9**2)) ** 0.5).float().mean()  # half of the ring's area
    assert abs(inside.item() - 0.5) < 0.06
    torch.testing.assert_close(layer.gain_l0.detach().exp(), (1 - sizes**2).sqrt(), rtol=1e-3, atol=1e-5)
