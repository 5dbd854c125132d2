from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rnn_diag.cells import GRUEquations, State, Weights
from rnn_diag.diagnostics.jacobian import jacobian_product_singular_values, state_jacobian
from rnn_diag.testing.known import forgetting_trace, linear_trace
from rnn_diag.trace import Trace
from tests.reference.random_layers import CELLS, autograd_states, random_trace


def test_a_gru_at_zero_is_half_the_identity_plus_a_quarter_of_its_candidate_weights() -> None:
    units = 4
    recurrent = torch.randn(3 * units, units, dtype=torch.float64)
    weights = Weights(torch.zeros(3 * units, 1, dtype=torch.float64), recurrent)
    zeros = torch.zeros(1, 1, 1, dtype=torch.float64)
    trace = Trace.of("l0", GRUEquations(), weights, zeros, State(torch.zeros(1, units, dtype=torch.float64)))
    expected = torch.eye(units, dtype=torch.float64) / 2 + recurrent[2 * units :] / 4
    torch.testing.assert_close(state_jacobian(trace, 0)[0], expected, rtol=1e-14, atol=1e-15)


def test_the_forget_gate_is_on_the_diagonal_of_the_memory_block() -> None:
    jacobian = state_jacobian(forgetting_trace(0.98, steps=4), 2)[0]
    assert jacobian[1, 1].item() == pytest.approx(0.98, rel=1e-14)
    assert jacobian[1, 0].item() == 0


def full_jacobian(trace: Trace, sequence: int, start: int, stop: int) -> Tensor:
    """Differentiate the full state after `stop - 1` by the one before `start`, in reading order."""
    alone = only(trace, sequence)
    size = alone.initial_hidden.shape[-1]

    def advance(state: Tensor) -> Tensor:
        initial = State(state[:size].unsqueeze(0), state[size:].unsqueeze(0) if trace.equations.has_cell else None)
        inputs = alone.inputs.flip(0) if trace.reverse else alone.inputs
        later = Trace.of("l0", trace.equations, trace.weights, inputs[start:stop], initial)
        hiddens, cells = _states(later, state, size)
        return torch.cat((hiddens[-1], cells[-1])) if cells else hiddens[-1]

    hiddens, cells = autograd_states(trace, sequence)
    before = torch.cat((hiddens[start], cells[start])) if cells else hiddens[start]
    result: Tensor = torch.autograd.functional.jacobian(advance, before.detach())
    return result


def _states(trace: Trace, state: Tensor, size: int) -> tuple[list[Tensor], list[Tensor]]:
    weights, equations = trace.weights, trace.equations
    hidden, cell = state[:size], state[size:] if equations.has_cell else None
    hiddens, cells = [], []
    for inputs in trace.inputs[:, 0]:
        projected = inputs @ weights.weight_ih.T + weights.bias_ih
        step = equations.step(projected, hidden @ weights.weight_hh.T + weights.bias_hh, State(hidden, cell), weights)
        hidden = step.emitted if weights.weight_hr is None else step.emitted @ weights.weight_hr.T
        cell = step.cell
        hiddens.append(hidden)
        cells += [] if cell is None else [cell]
    return hiddens, cells


def only(trace: Trace, sequence: int) -> Trace:
    length = int(trace.lengths[sequence])
    part = slice(sequence, sequence + 1)
    initial = State(*(None if state is None else state[part] for state in trace.unrolled.initial))
    inputs = trace.inputs[:length, part]
    return Trace.of("l0", trace.equations, trace.weights, inputs, initial, reverse=trace.reverse)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_state_jacobian_equals_autograd(cell: str, reverse: bool) -> None:
    trace = random_trace(cell, [4, 2], grads=None, reverse=reverse)
    for t in range(4):
        jacobian = state_jacobian(trace, t)
        for sequence, length in enumerate([4, 2]):
            if t >= length:
                assert jacobian[sequence].isnan().all()
                continue
            position = length - 1 - t if reverse else t
            expected = full_jacobian(trace, sequence, position, position + 1)
            torch.testing.assert_close(jacobian[sequence], expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_extreme_singular_values_of_a_product_equal_those_of_the_formed_matrix(cell: str, reverse: bool) -> None:
    trace = random_trace(cell, [5, 3], grads=None, reverse=reverse)
    found = jacobian_product_singular_values(trace, 1, 4)
    for sequence, length in enumerate([5, 3]):
        values = torch.linalg.svdvals(full_jacobian(trace, sequence, 1, min(4, length)))
        assert found.largest[sequence].item() == pytest.approx(values[0].item(), rel=1e-9)
        assert found.smallest[sequence].item() == pytest.approx(values[-1].item(), abs=1e-12 * values[0].item())


def test_a_product_of_orthogonal_steps_neither_stretches_nor_squeezes() -> None:
    turn = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    values = jacobian_product_singular_values(linear_trace(turn, steps=30, batch=2))
    torch.testing.assert_close(values.largest, torch.ones(2, dtype=torch.float64), rtol=1e-12, atol=0)
    torch.testing.assert_close(values.smallest, torch.ones(2, dtype=torch.float64), rtol=1e-12, atol=0)


def test_few_iterations_already_find_the_largest_singular_value_of_a_larger_layer() -> None:
    weight = torch.randn(100, 100, dtype=torch.float64) / 10
    found = jacobian_product_singular_values(linear_trace(weight, steps=4), iterations=24)
    values = torch.linalg.svdvals(torch.linalg.matrix_power(weight, 4))
    assert found.largest.item() == pytest.approx(values[0].item(), rel=1e-8)
    assert found.smallest.item() >= values[-1].item()


def test_a_non_finite_state_gives_nan_for_its_own_sequence_only() -> None:
    inputs = torch.zeros(3, 2, 4, dtype=torch.float64)
    inputs[0, 1] = math.nan
    weights = Weights(torch.ones(6, 4, dtype=torch.float64), torch.ones(6, 2, dtype=torch.float64))
    initial = State(torch.zeros(2, 2, dtype=torch.float64))
    trace = Trace.of("l0", GRUEquations(), weights, inputs, initial)
    assert jacobian_product_singular_values(trace).largest.isnan().tolist() == [False, True]


def test_steps_outside_the_trace_are_refused() -> None:
    with pytest.raises(ValueError, match="step 3; expected one of a trace of 3 steps"):
        state_jacobian(linear_trace(0.5, steps=3), 3)
    with pytest.raises(ValueError, match="steps 2 to 2; expected a part of a trace of 3 steps"):
        jacobian_product_singular_values(linear_trace(0.5, steps=3), 2, 2)
