"""A trace of a recurrence with a known answer holds that answer."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.testing.known import ALL, Problem, forget_only_lstm, non_normal, rotation, scalar_linear


@pytest.fixture(params=ALL)
def problem(request: pytest.FixtureRequest) -> Problem:
    return ALL[request.param]()


def test_states_are_the_known_ones(problem: Problem) -> None:
    trace = problem.trace
    assert problem.hidden is not None
    torch.testing.assert_close(trace.hidden[:, 0], problem.hidden, rtol=1e-12, atol=1e-12)
    if problem.cell is None:
        assert trace.cell is None
    else:
        torch.testing.assert_close(trace.cell[:, 0], problem.cell, rtol=1e-12, atol=1e-12)


def test_total_gradients_are_the_known_ones(problem: Problem) -> None:
    trace = problem.trace
    assert problem.hidden_grad_norms is not None
    norms = trace.hidden_grad[:, 0].norm(dim=-1)
    torch.testing.assert_close(norms, problem.hidden_grad_norms, rtol=1e-12, atol=1e-12)
    if problem.cell_grad is not None:
        torch.testing.assert_close(trace.cell_grad[:, 0], problem.cell_grad, rtol=1e-12, atol=1e-12)


def test_the_state_jacobian_is_the_known_one(problem: Problem) -> None:
    if problem.jacobian is None:
        return
    trace = problem.trace
    step, before = trace.unrolled.at(0)
    found = problem.equations.jacobian(step, before, problem.weights)[0]
    torch.testing.assert_close(found, problem.jacobian, rtol=1e-12, atol=1e-12)


def test_the_gradient_of_a_scalar_recurrence_is_its_weight_to_the_steps_remaining() -> None:
    grads = scalar_linear(0.5, steps=4).trace.hidden_grad.flatten().tolist()
    assert grads == [0.125, 0.25, 0.5, 1.0]


def test_a_rotation_keeps_every_norm() -> None:
    trace = rotation().trace
    torch.testing.assert_close(trace.hidden.norm(dim=-1), torch.ones(12, 1, dtype=torch.float64))
    torch.testing.assert_close(trace.hidden[-1, 0], torch.tensor([1.0, 0.0], dtype=torch.float64))


def test_a_non_normal_matrix_grows_the_gradient_to_3_893528_nine_steps_back() -> None:
    assert non_normal().trace.hidden_grad[0].norm().item() == pytest.approx(3.893528, abs=1e-6)


def test_an_lstm_that_only_forgets_holds_098_to_the_k() -> None:
    trace = forget_only_lstm().trace
    assert trace.cell is not None
    assert trace.cell[49].item() == pytest.approx(0.98**50, rel=1e-12)
