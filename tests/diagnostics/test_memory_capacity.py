from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from rnn_diag.cells import State
from rnn_diag.diagnostics.memory_capacity import memory_capacity
from rnn_diag.diagnostics.module_trace import module_trace
from rnn_diag.nn import RNN
from rnn_diag.trace import Trace
from tests.reference.random_layers import mask_of


def linear_module(recurrent: Tensor, entering: Tensor) -> RNN:
    """`h_t = W h_{t-1} + V x_t`."""
    module = RNN(entering.shape[1], len(recurrent), bias=False, nonlinearity="identity").double().requires_grad_(False)
    module.weight_ih_l0[:], module.weight_hh_l0[:] = entering, recurrent
    return module


def linear_trace(recurrent: Tensor, entering: Tensor, steps: int = 1000, sequences: int = 20) -> Trace:
    """The same, driven by noise that is white but for chance."""
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(steps, sequences, 1, generator=generator, dtype=torch.float64)
    return module_trace(linear_module(recurrent, entering), inputs)


def exact_capacity(recurrent: Tensor, entering: Tensor, delays: int) -> Tensor:
    """Jaeger's closed form: with the stationary covariance `C`, `MC_k = (W^k v)^T C^{-1} W^k v`, for every feature."""
    responses = [entering]
    for _ in range(1000):
        responses.append(recurrent @ responses[-1])
    covariance = sum(r @ r.T for r in responses)
    return torch.stack([(r * torch.linalg.solve(covariance, r)).sum(0) for r in responses[:delays]])


def unit(size: int) -> Tensor:
    return torch.eye(size, dtype=torch.float64)[:, :1]


def test_a_delay_line_holds_as_many_inputs_as_it_has_units() -> None:
    line = torch.diag(torch.ones(5, dtype=torch.float64), -1)
    capacity = memory_capacity(linear_module(line, unit(6)), max_delay=12)
    assert capacity.by_delay.flatten().tolist() == pytest.approx([1.0] * 6 + [0.0] * 7, abs=1e-10)
    assert capacity.total == pytest.approx(6, abs=1e-10)


def test_a_scaled_rotation_of_the_units_holds_the_same_share_of_every_input_until_it_is_full() -> None:
    ring = 0.9 * torch.roll(torch.eye(4, dtype=torch.float64), 1, dims=0)
    found = memory_capacity(linear_module(ring, unit(4)), max_delay=20).by_delay.flatten()
    expected = torch.tensor([0.9 ** (8 * (k // 4)) * (1 - 0.9**8) for k in range(21)], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("features", [1, 2, 3])
@pytest.mark.parametrize("is_normal", [False, True])
def test_a_linear_network_has_the_capacity_of_its_closed_form_which_adds_up_to_its_units(
    is_normal: bool, features: int
) -> None:
    eigenvalues = torch.tensor([0.9, -0.7, 0.5, -0.3], dtype=torch.float64).diag()
    vectors = torch.randn(4, 4, dtype=torch.float64)
    vectors = torch.linalg.qr(vectors).Q if is_normal else vectors
    recurrent, entering = vectors @ eigenvalues @ torch.linalg.inv(vectors), torch.randn(4, features).double()
    capacity = memory_capacity(linear_module(recurrent, entering), max_delay=100)
    torch.testing.assert_close(capacity.by_delay, exact_capacity(recurrent, entering, 101), rtol=0, atol=1e-8)
    assert capacity.total == pytest.approx(4, abs=1e-6)


def test_on_a_trace_the_capacity_scatters_around_that_of_the_closed_form() -> None:
    recurrent = torch.tensor([[0.8, 0.3], [-0.3, 0.8]], dtype=torch.float64)
    capacity = memory_capacity(linear_trace(recurrent, unit(2)), max_delay=40, washout=50)
    expected = exact_capacity(recurrent, unit(2), 41)
    torch.testing.assert_close(capacity.by_delay, expected, rtol=0, atol=0.02)  # scatters by 0.007: 18000 samples
    assert capacity.total == pytest.approx(2, abs=0.1)  # neighbouring delays scatter together


@pytest.mark.parametrize("make", [nn.RNN, nn.LSTM, nn.GRU])
def test_no_network_holds_more_than_its_number_of_units(make: type[nn.RNNBase]) -> None:
    module = make(1, 10).double()
    assert 1 < memory_capacity(module, max_delay=250).total < 10


def test_a_layer_without_recurrence_holds_the_present_input_only() -> None:
    trace = linear_trace(torch.zeros(3, 3, dtype=torch.float64), torch.ones(3, 1, dtype=torch.float64))
    capacity = memory_capacity(trace, max_delay=30)
    assert capacity.by_delay[0].item() == pytest.approx(1.0, abs=1e-12)
    assert capacity.total == pytest.approx(1.0, abs=0.003)  # one direction: adding delays adds scatter, but no bias


def test_a_reverse_layer_looks_at_the_inputs_that_it_read_before() -> None:
    line = torch.diag(torch.ones(2, dtype=torch.float64), -1)
    forward = linear_trace(line, unit(3), steps=60, sequences=3)
    mask = mask_of([60, 40, 50])
    capacities = []
    for reverse in (False, True):
        initial = State(forward.initial_hidden)
        trace = Trace.of("l0", forward.equations, forward.weights, forward.inputs, initial, mask, reverse=reverse)
        capacities.append(memory_capacity(trace, max_delay=4))
    assert all(c.by_delay[:3].flatten().tolist() == pytest.approx([1.0] * 3, abs=1e-12) for c in capacities)
    assert all(c.by_delay[3:].abs().max() < 0.2 for c in capacities)
    assert [c.samples for c in capacities] == [138, 138]


def test_each_feature_is_read_alone_and_one_that_never_varies_is_unknown() -> None:
    module = nn.RNN(2, 4, nonlinearity="tanh").double()
    inputs = torch.randn(400, 4, 2, dtype=torch.float64)
    inputs[..., 1] = 1.0
    capacity = memory_capacity(module_trace(module, inputs), max_delay=3)
    assert capacity.by_delay.shape == (4, 2)
    assert capacity.by_delay[:, 1].isnan().all()
    assert math.isfinite(capacity.total)


def test_the_default_delay_leaves_twice_as_many_samples_as_units() -> None:
    trace = linear_trace(torch.zeros(6, 6, dtype=torch.float64), unit(6), steps=10, sequences=3)
    capacity = memory_capacity(trace)
    assert len(capacity.by_delay) == 7
    assert capacity.samples == 12


def test_too_few_samples_for_the_number_of_units_are_refused() -> None:
    trace = linear_trace(torch.zeros(6, 6, dtype=torch.float64), unit(6), steps=10, sequences=1)
    with pytest.raises(
        ValueError, match="max_delay=4, washout=0; expected to leave more than 7 steps for 6 units, left: 6"
    ):
        memory_capacity(trace, max_delay=4)
    with pytest.raises(ValueError, match="max_delay=-1; expected a whole number of at least 0"):
        memory_capacity(trace, max_delay=-1)


def test_measuring_leaves_the_random_state_alone() -> None:
    module, before = nn.GRU(1, 2), torch.get_rng_state()
    memory_capacity(module)
    assert torch.equal(torch.get_rng_state(), before)


def test_states_that_are_not_finite_leave_the_capacity_unknown() -> None:
    trace = linear_trace(2.0 * torch.eye(2, dtype=torch.float64), unit(2), steps=1200, sequences=1)
    assert memory_capacity(trace, max_delay=2).by_delay.isnan().all()


def test_a_layer_that_never_moves_holds_nothing() -> None:
    module = nn.RNN(1, 2, bias=False).requires_grad_(False)
    module.weight_ih_l0.zero_()
    assert memory_capacity(module, max_delay=3).by_delay.tolist() == [[0.0]] * 4
