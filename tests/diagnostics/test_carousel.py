from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rnn_diag.cells import LSTMEquations, State, Weights
from rnn_diag.diagnostics.carousel import carousel, forget_rate, log_retention
from rnn_diag.diagnostics.gradient_norms import cell_grad_norms
from rnn_diag.testing.known import forgetting_trace
from rnn_diag.trace import Trace
from tests.reference.random_layers import random_trace


def test_a_constant_forget_gate_keeps_its_power_of_the_steps_remaining() -> None:
    found = carousel(forgetting_trace(0.98, steps=150))
    expected = math.log(0.98) * torch.arange(149, -1, -1, dtype=torch.float64)
    torch.testing.assert_close(found.log_retention.flatten(), expected, rtol=1e-12, atol=1e-14)
    assert found.time_constants.item() == pytest.approx(-1 / math.log(0.98), rel=1e-12)


def test_all_the_gradient_travels_through_a_carousel_that_nothing_else_reads() -> None:
    found = carousel(forgetting_trace(0.9, steps=5))
    assert found.carousel_share.flatten().tolist() == pytest.approx([1, 1, 1, 1, 0])


def test_a_shut_forget_gate_has_a_finite_log() -> None:
    trace = forgetting_trace(0.5, steps=2)
    bias = torch.full((4,), -2000.0, dtype=torch.float64)
    weights = Weights(trace.weights.weight_ih, trace.weights.weight_hh, bias)
    initial = State(trace.initial_hidden, trace.initial_cell)
    shut = Trace.of("l0", LSTMEquations(), weights, trace.inputs, initial)
    assert log_retention(shut)[0].item() == -2000.0


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "peephole_lstm", "projected_lstm"])
def test_retention_and_share_equal_a_loop_over_the_valid_steps(cell: str, reverse: bool) -> None:
    trace = random_trace(cell, [5, 3], reverse=reverse)
    found = carousel(trace)
    forget, cell_grad = trace.gates["forget"], trace.cell_grad
    assert cell_grad is not None
    for sequence, length in enumerate([5, 3]):
        order = list(range(length))[:: -1 if reverse else 1]
        for position, t in enumerate(order):
            later = order[position + 1 :]
            kept = torch.stack([torch.ones(3).double(), *(forget[s, sequence] for s in later)]).prod(0)
            torch.testing.assert_close(found.log_retention[t, sequence].exp(), kept, rtol=1e-11, atol=0)
            carried = torch.zeros(3).double()
            if later:
                carried = forget[later[0], sequence] * cell_grad[later[0], sequence]
            share = carried.norm() / (carried.norm() + (cell_grad[t, sequence] - carried).norm())
            torch.testing.assert_close(found.carousel_share[t, sequence], share, rtol=1e-10, atol=1e-14)
        assert found.carousel_share[length:, sequence].isnan().all()
        assert found.log_retention[length:, sequence].isnan().all()
    torch.testing.assert_close(found.cell_grad_norms, cell_grad_norms(trace), equal_nan=True)


def test_time_constants_of_two_ranks_are_those_of_the_union() -> None:
    union = random_trace("lstm", [6, 2, 4])

    def part(sequences: slice, steps: int) -> Trace:
        initial = State(*(state[sequences] for state in union.unrolled.initial))
        mask = union.mask[:steps, sequences]
        return Trace.of("l0", union.equations, union.weights, union.inputs[:steps, sequences], initial, mask)

    merged = forget_rate(part(slice(0, 1), 6)) + forget_rate(part(slice(1, 3), 4))
    torch.testing.assert_close(merged.time_constants, forget_rate(union).time_constants)
    assert merged.mean_length == 4.0
    logs = union.gates["forget"][union.mask].log()
    torch.testing.assert_close(merged.time_constants, -1 / logs.mean(0))


def test_units_whose_memory_outlasts_the_sequence_are_counted() -> None:
    assert forget_rate(forgetting_trace(0.98, steps=40)).spanning_share == 1.0  # 49.5 steps
    assert forget_rate(forgetting_trace(0.98, steps=60)).spanning_share == 0.0


def test_a_nan_gate_shows_in_its_own_unit_only() -> None:
    trace = forgetting_trace(0.5, steps=3, units=2)
    bias: Tensor = trace.weights.bias_ih.clone()
    bias[2] = math.nan  # the first unit's forget gate
    weights = Weights(trace.weights.weight_ih, torch.zeros(8, 2).double(), bias)
    silent = Trace.of("l0", LSTMEquations(), weights, trace.inputs[:1], State(trace.initial_hidden, trace.initial_cell))
    assert forget_rate(silent).time_constants.isnan().tolist() == [True, False]


def test_a_forget_gate_of_exactly_one_never_forgets() -> None:
    rate = forget_rate(forgetting_trace(1.0, steps=5))
    assert rate.time_constants.tolist() == [math.inf]
    assert (rate + rate).time_constants.tolist() == [math.inf]
    assert rate.spanning_share == 1.0
    assert log_retention(forgetting_trace(1.0, steps=5)).exp().flatten().tolist() == [1.0] * 5


def test_a_gru_keeps_its_state_by_its_update_gate() -> None:
    trace = random_trace("gru", [5, 3])
    update = trace.gates["update"]
    torch.testing.assert_close(log_retention(trace)[0, 0].exp(), update[1:, 0].prod(0))
    torch.testing.assert_close(log_retention(trace)[0, 1].exp(), update[1:3, 1].prod(0))
    torch.testing.assert_close(forget_rate(trace).time_constants, -1 / update[trace.mask].log().mean(0))


def test_a_gate_that_keeps_when_it_is_shut_keeps_one_minus_itself() -> None:
    trace = random_trace("minimal_gated_unit", [4])
    torch.testing.assert_close(log_retention(trace)[0].exp(), (1 - trace.gates["forget"][1:]).prod(0))


def test_a_recurrence_in_which_no_gate_keeps_the_memory_says_so() -> None:
    with pytest.raises(ValueError, match="layer='l0' is a rnn; expected one in which a sigmoid gate keeps"):
        log_retention(random_trace("rnn", [3]))


def test_the_carousel_of_a_recurrence_without_a_memory_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="'l0' is a gru, which has no memory cell"):
        carousel(random_trace("gru", [3]))
