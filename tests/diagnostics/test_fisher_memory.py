from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from rnn_diag.diagnostics.fisher_memory import fisher_memory_curve
from rnn_diag.diagnostics.jacobian import state_jacobian
from rnn_diag.diagnostics.module_trace import module_trace
from rnn_diag.testing.known import linear_trace
from tests.reference.random_layers import CELLS, random_trace


def orthogonal(size: int) -> Tensor:
    q: Tensor = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64)).Q
    return q


def test_a_scaled_orthogonal_matrix_remembers_the_same_in_every_direction() -> None:
    curve = fisher_memory_curve(linear_trace(0.8 * orthogonal(5), steps=120)).flatten()
    lags = torch.arange(120, dtype=torch.float64)
    torch.testing.assert_close(curve, 0.8 ** (2 * lags) * (1 - 0.8**2), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("direction", [torch.tensor([1.0, 0, 0, 0]), torch.tensor([3.0, -1, 0.5, 2])])
def test_normal_networks_remember_as_much_as_their_noise_and_no_more(direction: Tensor) -> None:
    vectors, eigenvalues = orthogonal(4), torch.tensor([0.9, -0.7, 0.3, 0.0], dtype=torch.float64)
    trace = linear_trace(vectors @ eigenvalues.diag() @ vectors.T, steps=150)
    curve = fisher_memory_curve(trace, direction).flatten()
    along = (vectors.T @ (direction.double() / direction.double().norm())).square()
    lags = torch.arange(150).unsqueeze(1)
    expected = (along * eigenvalues ** (2 * lags) * (1 - eigenvalues**2)).sum(1)
    torch.testing.assert_close(curve, expected, rtol=1e-10, atol=1e-14)
    assert curve.sum().item() == pytest.approx(1.0, rel=1e-10)


def test_a_delay_line_remembers_more_than_any_normal_network() -> None:
    size, alpha = 6, 0.7
    line = math.sqrt(alpha) * torch.diag(torch.ones(size - 1, dtype=torch.float64), -1)
    curve = fisher_memory_curve(linear_trace(line, steps=10), torch.eye(size)[0]).flatten()
    expected = [alpha**k * (1 - alpha) / (1 - alpha ** (k + 1)) for k in range(size)]
    assert curve[:size].tolist() == pytest.approx(expected, rel=1e-12)
    assert curve[size:].tolist() == [0.0] * 4
    assert 1 < curve.sum().item() < size


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_the_curve_around_a_trajectory_equals_products_of_its_jacobians(cell: str, reverse: bool) -> None:
    trace = random_trace(cell, [5, 3], grads=None, reverse=reverse)
    curve = fisher_memory_curve(trace, torch.tensor([1.0, -2.0]))
    for sequence, length in enumerate([5, 3]):
        order = list(range(length))[:: -1 if reverse else 1]
        size = state_jacobian(trace, 0).shape[-1]
        product, responses, covariance = torch.eye(size).double(), [], torch.zeros(size, size).double()
        for t in reversed(order):
            covariance = covariance + product @ product.T
            responses.append(product @ by_difference(trace, t, sequence, torch.tensor([1.0, -2.0]).double() / 5**0.5))
            product = product @ state_jacobian(trace, t)[sequence]
        expected = torch.stack([r @ torch.linalg.solve(covariance, r) for r in responses])
        torch.testing.assert_close(curve[:length, sequence], expected, rtol=1e-6, atol=1e-9)  # by finite differences
        assert curve[length:, sequence].isnan().all()
        assert curve[:length, sequence].sum() < size * 4  # inputs enter with a length of at most 2


def by_difference(trace, t: int, sequence: int, direction: Tensor, size: float = 1e-6) -> Tensor:
    """Return the change of the state after one step, from the state that it started from, per unit of input."""
    equations, weights = trace.equations, trace.weights
    previous_cell = None if trace.previous_cell is None else trace.previous_cell[t, sequence]
    previous = type(trace.unrolled.initial)(trace.previous_hidden[t, sequence], previous_cell)

    def state(inputs: Tensor) -> Tensor:
        projected = inputs @ weights.weight_ih.T + weights.bias_ih
        step = equations.step(projected, previous.hidden @ weights.weight_hh.T + weights.bias_hh, previous, weights)
        hidden = step.emitted if weights.weight_hr is None else step.emitted @ weights.weight_hr.T
        return hidden if step.cell is None else torch.cat((hidden, step.cell))

    at = trace.inputs[t, sequence]
    return (state(at + size * direction) - state(at - size * direction)) / (2 * size)


def test_a_module_is_looked_at_at_rest() -> None:
    module = nn.RNN(1, 1, bias=False, nonlinearity="tanh").double().requires_grad_(False)
    module.weight_ih_l0[:], module.weight_hh_l0[:] = 2.0, 0.5
    curve = fisher_memory_curve(module)[:3].flatten().tolist()
    assert curve == pytest.approx([4 * 0.75, 4 * 0.75 / 4, 4 * 0.75 / 16])
    assert torch.equal(fisher_memory_curve(module_trace(module)), fisher_memory_curve(module))


def test_a_state_that_is_not_finite_leaves_its_own_sequence_unknown() -> None:
    trace = random_trace("lstm", [4, 4], grads=None)
    trace.inputs[1, 0] = math.nan
    assert fisher_memory_curve(trace).isnan().all(0).tolist() == [True, False]


@pytest.mark.parametrize("direction", [torch.zeros(2), torch.ones(3), torch.tensor([1.0, math.nan])])
def test_a_direction_that_is_none_of_the_input_is_refused(direction: Tensor) -> None:
    with pytest.raises(ValueError, match="expected 2 finite numbers, one for each feature, not all zero"):
        fisher_memory_curve(random_trace("gru", [3]), direction)
