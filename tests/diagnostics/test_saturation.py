from __future__ import annotations

import math

import pytest
import torch

from rnn_diag.cells import GRUEquations, LSTMEquations, MinGRUEquations, RNNEquations, State, Weights
from rnn_diag.diagnostics.module_trace import module_trace
from rnn_diag.diagnostics.saturation import UnitState, gate_saturation, relu_silence, tanh_saturation, unit_states
from rnn_diag.nn import Recurrent
from rnn_diag.testing.known import forgetting_trace
from rnn_diag.trace import Trace
from tests.reference.random_layers import mask_of, random_trace, random_weights


def driven_gates(preactivations: torch.Tensor, mask: torch.Tensor | None = None) -> Trace:
    """A GRU whose reset, update and candidate pre-activations are the three given ones at every step `[T, B]`."""
    weights = Weights(torch.eye(3, dtype=preactivations.dtype), torch.zeros(3, 1, dtype=preactivations.dtype))
    initial = State(torch.zeros(preactivations.shape[1], 1, dtype=preactivations.dtype))
    return Trace.of("l0", GRUEquations(), weights, preactivations, initial, mask)


def logits(*activations: float) -> torch.Tensor:
    """The same pre-activation for reset, update and candidate, one step each, one sequence."""
    return torch.logit(torch.tensor(activations, dtype=torch.float64)).view(-1, 1, 1).expand(-1, 1, 3)


def test_fractions_are_those_counted_by_hand() -> None:
    saturation = gate_saturation(driven_gates(logits(0.05, 0.2, 0.95, 0.97)))
    assert saturation.gates == ("reset", "update")
    assert saturation.left.tolist() == [[0.25], [0.25]]
    assert saturation.right.tolist() == [[0.5], [0.5]]
    assert saturation.left_by_step.tolist() == [[1, 0, 0, 0]] * 2
    assert saturation.right_by_step.tolist() == [[0, 0, 1, 1]] * 2


def test_a_gate_exactly_at_a_threshold_is_not_saturated() -> None:
    saturation = gate_saturation(driven_gates(torch.zeros(1, 1, 3, dtype=torch.float64)), low=0.5, high=0.6)
    assert saturation.left.tolist() == [[0.0], [0.0]]
    saturation = gate_saturation(driven_gates(torch.zeros(1, 1, 3, dtype=torch.float64)), low=0.4, high=0.5)
    assert saturation.right.tolist() == [[0.0], [0.0]]


def test_half_precision_does_not_round_an_open_gate_past_the_threshold() -> None:
    trace = driven_gates(torch.full((1, 1, 3), 7.0, dtype=torch.bfloat16))
    assert trace.gates["update"].item() == 1.0  # what bfloat16 makes of it
    assert gate_saturation(trace, high=0.9995).right.tolist() == [[0.0], [0.0]]
    assert gate_saturation(trace, high=0.9990).right.tolist() == [[1.0], [1.0]]


def test_padding_never_counts_as_shut_or_open() -> None:
    preactivations = logits(0.95, 0.05, 0.05).expand(3, 2, 3)
    saturation = gate_saturation(driven_gates(preactivations, mask_of([3, 1])))
    assert saturation.left.tolist() == [[0.5], [0.5]]
    assert saturation.right.tolist() == [[0.5], [0.5]]
    assert saturation.right_by_step[0].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("cell", ["gru", "lstm", "peephole_lstm", "projected_lstm"])
def test_fractions_equal_a_count_over_every_valid_step(cell: str) -> None:
    trace = random_trace(cell, [6, 2, 4], weights=random_weights(cell, 2, 3, scale=3.0))
    saturation = gate_saturation(trace, low=0.2, high=0.7)
    for index, gate in enumerate(saturation.gates):
        valid = trace.gates[gate][trace.mask]
        torch.testing.assert_close(saturation.left[index], (valid < 0.2).double().mean(0))
        torch.testing.assert_close(saturation.right[index], (valid > 0.7).double().mean(0))


def test_two_ranks_give_the_numbers_of_one_process_on_the_union() -> None:
    union = random_trace("lstm", [6, 2, 4], weights=random_weights("lstm", 2, 3, scale=3.0))

    def rank(part: slice, steps: int) -> Trace:
        initial = State(*(state[part] for state in union.unrolled.initial))
        return Trace.of(
            "l0", union.equations, union.weights, union.inputs[:steps, part], initial, union.mask[:steps, part]
        )

    merged = gate_saturation(rank(slice(0, 1), 6)) + gate_saturation(rank(slice(1, 3), 4))
    expected = gate_saturation(union)
    for name in ("left", "right", "left_by_step", "right_by_step"):
        torch.testing.assert_close(getattr(merged, name), getattr(expected, name))


def test_a_nan_gate_shows_as_nan_and_leaves_other_units_alone() -> None:
    shut = driven_gates(logits(0.05, 0.05))
    bias = torch.tensor([0.0, math.nan, 0.0], dtype=torch.float64)
    weights = Weights(shut.weights.weight_ih, torch.zeros(3, 1, dtype=torch.float64), bias_ih=bias)
    trace = Trace.of("l0", GRUEquations(), weights, shut.inputs[:1], State(shut.initial_hidden))
    saturation = gate_saturation(trace)
    assert saturation.left[0].item() == 1.0
    assert saturation.left[1].isnan()
    assert unit_states(saturation)[1].item() == UnitState.NOT_FINITE


def test_units_are_stuck_switching_or_undecided_over_all_batches() -> None:
    shut, open_, half = logits(*[0.01] * 50), logits(*[0.99] * 50), logits(*[0.5] * 50)

    def state(*batches: torch.Tensor) -> int:
        saturations = [gate_saturation(driven_gates(batch)) for batch in batches]
        total = saturations[0]
        for saturation in saturations[1:]:
            total = total + saturation
        return int(unit_states(total)[0].item())

    assert state(shut) == UnitState.STUCK_SHUT
    assert state(shut, shut) == UnitState.STUCK_SHUT
    assert state(open_) == UnitState.STUCK_OPEN
    assert state(shut, open_) == UnitState.SWITCHING
    assert state(half) == UnitState.UNDECIDED
    assert state(shut, half) == UnitState.UNDECIDED


def test_a_latch_that_opens_at_one_step_in_forty_is_not_stuck() -> None:
    saturation = gate_saturation(driven_gates(logits(*[0.01] * 39, 0.99)))
    assert unit_states(saturation)[0].item() == UnitState.SWITCHING


def test_different_layers_do_not_merge() -> None:
    with pytest.raises(ValueError, match=r"reset, update of 1 units and input, forget, output of 1 units"):
        gate_saturation(driven_gates(logits(0.5))) + gate_saturation(forgetting_trace(0.5, steps=1))


def test_thresholds_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match=r"low=0.9, high=0.1"):
        gate_saturation(driven_gates(logits(0.5)), low=0.9, high=0.1)


def test_a_plain_network_has_no_gates_and_its_tanh_counts_apart() -> None:
    preactivations = torch.atanh(torch.tensor([0.5, -0.95, 0.95, 0.85], dtype=torch.float64)).view(4, 1, 1)
    one, none = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    trace = Trace.of("l0", RNNEquations(), Weights(one, none), preactivations, State(none))
    assert gate_saturation(trace).gates == ()
    assert gate_saturation(trace).left.shape == (0, 1)
    share = tanh_saturation(trace)
    assert share.blocks == ("hidden",)
    assert share.by_unit.tolist() == [[0.5]]
    assert share.by_step.tolist() == [[0, 1, 1, 0]]


def test_saturated_memory_shows_in_the_cell_block() -> None:
    trace = forgetting_trace(0.5, steps=3)
    trace = Trace.of(
        "l0", LSTMEquations(), trace.weights, trace.inputs, State(trace.initial_hidden, 8 * torch.ones(1, 1).double())
    )
    share = tanh_saturation(trace)
    assert share.by_step[share.blocks.index("cell")].tolist() == [1, 1, 0]  # c = 4, 2, 1 and tanh 1 is 0.76


def test_a_dead_relu_unit_is_silent_at_every_step() -> None:
    weights = Weights(torch.ones(2, 1), torch.zeros(2, 2), bias_ih=torch.tensor([0.0, -100.0]))
    inputs = torch.tensor([1.0, -1.0, 2.0, 3.0]).view(4, 1, 1)
    trace = Trace.of("l0", RNNEquations("relu"), weights, inputs, State(torch.zeros(1, 2)))
    assert relu_silence(trace).by_unit.tolist() == [[0.25, 1.0]]


def test_a_positive_candidate_is_no_relu() -> None:
    layer = Recurrent(MinGRUEquations, 2, 3)
    assert relu_silence(module_trace(layer)).blocks == ()
