from __future__ import annotations

import math

import pytest
import torch

from rnn_diag.cells import RNNEquations, State, Weights
from rnn_diag.diagnostics import gradient_norms as measure
from rnn_diag.diagnostics.step_contributions import early_late_cosine, step_weight_grad_norms
from rnn_diag.testing.known import forgetting_trace, linear_trace
from rnn_diag.trace import OutputGrads, Trace
from tests.reference.random_layers import CELLS, autograd_states, mask_of, random_trace


def test_norm_at_step_t_is_weight_to_the_steps_remaining() -> None:
    norms = measure.hidden_grad_norms(linear_trace(0.8, steps=50, batch=2))
    expected = 0.8 ** torch.arange(49, -1, -1, dtype=torch.float64)
    torch.testing.assert_close(norms, expected.unsqueeze(1).expand(50, 2), rtol=1e-13, atol=0)


def test_orthogonal_recurrence_keeps_the_norm_constant() -> None:
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    norms = measure.hidden_grad_norms(linear_trace(turn, steps=100))
    torch.testing.assert_close(norms, torch.full_like(norms, math.sqrt(6)), rtol=1e-12, atol=0)


def test_non_normal_matrix_makes_the_gradient_grow_for_nine_steps_before_it_decays() -> None:
    jordan = linear_trace([[0.9, 1.0], [0.0, 0.9]], steps=300)
    grads = torch.zeros(300, 1, 2, dtype=torch.float64)
    grads[-1, 0, 0] = 1.0
    initial, output_grads = State(jordan.initial_hidden), OutputGrads(grads, State(None))
    trace = Trace.of("l0", jordan.equations, jordan.weights, jordan.inputs, initial, output_grads=output_grads)
    by_lag = measure.gradient_profile_from_the_end(trace).mean
    assert by_lag.argmax() == 9
    assert by_lag[9].item() == pytest.approx(3.893528, abs=1e-6)
    assert by_lag[-1] < 1e-9


def test_forget_gate_alone_carries_the_cell_gradient() -> None:
    norms = measure.cell_grad_norms(forgetting_trace(0.98, steps=200))
    ratios = measure.gradient_ratio_to_last(forgetting_trace(0.98, steps=200), norms)
    expected = 0.98 ** torch.arange(199, -1, -1, dtype=torch.float64).unsqueeze(1)
    torch.testing.assert_close(ratios, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_norms_equal_autograd_on_an_unrolled_loop(cell: str, reverse: bool) -> None:
    trace = random_trace(cell, [5, 3, 4], reverse=reverse)
    total, direct = measure.hidden_grad_norms(trace), trace.hidden_grad_direct
    for sequence, length in enumerate(trace.lengths.tolist()):
        hiddens, cells = autograd_states(trace, sequence)
        steps = range(length - 1, -1, -1) if reverse else range(length)
        loss = sum((hiddens[1 + position] * direct[t, sequence]).sum() for position, t in enumerate(steps))
        grads = torch.autograd.grad(loss, hiddens[1:], retain_graph=True)
        for position, t in enumerate(steps):
            assert total[t, sequence].item() == pytest.approx(grads[position].norm().item(), rel=1e-12)
        if cells:
            grads = torch.autograd.grad(loss, cells[1:])
            norms = measure.cell_grad_norms(trace)
            for position, t in enumerate(steps):
                assert norms[t, sequence].item() == pytest.approx(grads[position].norm().item(), rel=1e-12)


def test_padding_is_nan_in_norms_and_never_counts_in_profiles() -> None:
    trace = random_trace("lstm", [4, 2])
    norms = measure.hidden_grad_norms(trace)
    assert norms.isnan().tolist() == [[False, False], [False, False], [False, True], [False, True]]
    profile = measure.gradient_profile(trace)
    assert profile.count.tolist() == [2, 2, 1, 1]
    torch.testing.assert_close(profile.mean[2:], norms[2:, 0])


@pytest.mark.parametrize("reverse", [False, True])
def test_a_padded_sequence_has_the_numbers_of_the_sequence_alone(reverse: bool) -> None:
    both = random_trace("gru", [6, 3], reverse=reverse)
    alone = Trace.of(
        "l0",
        both.equations,
        both.weights,
        both.inputs[:3, 1:],
        State(both.initial_hidden[1:]),
        output_grads=OutputGrads(both.hidden_grad_direct[:3, 1:], State(None)),
        reverse=reverse,
    )
    for function in (
        measure.hidden_grad_norms,
        measure.hidden_grad_norms_recurrent,
        measure.gradient_ratio_to_last,
        step_weight_grad_norms,
    ):
        torch.testing.assert_close(function(both)[:3, 1:], function(alone), rtol=1e-12, atol=1e-15)
    for function in (measure.log_gradient_slope, early_late_cosine):
        torch.testing.assert_close(function(both)[1:], function(alone), rtol=1e-12, atol=1e-15)


def test_last_step_read_of_a_reverse_layer_is_step_zero() -> None:
    trace = random_trace("rnn", [4, 2], reverse=True)
    ratios = measure.gradient_ratio_to_last(trace)
    assert ratios[0].tolist() == [1.0, 1.0]
    torch.testing.assert_close(
        measure.gradient_profile_from_the_end(trace).mean, measure.gradient_profile(trace).mean, rtol=0, atol=0
    )


def test_profile_from_the_end_lines_up_sequences_of_different_length() -> None:
    linear = linear_trace(0.5, steps=4, batch=2)
    mask = mask_of([4, 2])
    grads = torch.zeros(4, 2, 1, dtype=torch.float64)
    grads[3, 0] = grads[1, 1] = 1.0
    trace = Trace.of(
        "l0",
        linear.equations,
        linear.weights,
        linear.inputs,
        State(linear.initial_hidden),
        mask,
        output_grads=OutputGrads(grads, State(None)),
    )
    profile = measure.gradient_profile_from_the_end(trace)
    assert profile.mean.tolist() == [1.0, 0.5, 0.25, 0.125]
    assert profile.count.tolist() == [2, 2, 1, 1]
    assert measure.gradient_profile(trace).mean.tolist() == [(0.125 + 0.5) / 2, (0.25 + 1) / 2, 0.5, 1.0]


def test_slope_is_the_log_of_the_weight_also_past_underflow() -> None:
    assert measure.log_gradient_slope(linear_trace(0.7, steps=60)).item() == pytest.approx(math.log(0.7), rel=1e-12)
    assert measure.log_gradient_slope(linear_trace(1.3, steps=60)).item() == pytest.approx(math.log(1.3), rel=1e-12)
    underflowing = measure.log_gradient_slope(linear_trace(1e-3, steps=200))
    assert underflowing.item() == pytest.approx(math.log(1e-3), rel=1e-2)  # subnormal numbers are coarse


def test_slope_of_a_single_step_is_unknown() -> None:
    assert measure.log_gradient_slope(linear_trace(0.5, steps=1)).isnan().all()


def test_single_precision_gradients_do_not_underflow_in_the_norm() -> None:
    grads = torch.full((1, 1, 4), 1e-30)
    trace = Trace.of(
        "l0",
        RNNEquations("identity"),
        Weights(torch.eye(4), torch.eye(4)),
        torch.zeros(1, 1, 4),
        State(torch.zeros(1, 4)),
        output_grads=OutputGrads(grads, State(None)),
    )
    assert measure.hidden_grad_norms(trace).item() == pytest.approx(2e-30, rel=1e-6)


def test_a_nan_gradient_shows_in_the_profile_of_its_step_and_of_earlier_ones() -> None:
    def with_nan(zeros: torch.Tensor) -> torch.Tensor:
        grads = torch.randn_like(zeros)
        grads[2, 0] = float("nan")
        return grads

    profile = measure.gradient_profile(random_trace("lstm", [4, 4], grads=with_nan)).mean
    assert profile.isnan().tolist() == [True, True, True, False]


def test_a_trace_without_backward_pass_says_so() -> None:
    with pytest.raises(RuntimeError, match="no backward pass"):
        measure.hidden_grad_norms(random_trace("rnn", [3], grads=None))


def test_a_recurrence_without_memory_says_so() -> None:
    with pytest.raises(ValueError, match="no memory cell"):
        measure.cell_grad_norms(random_trace("gru", [3]))


def test_norms_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 1\); expected \(3, 1\)"):
        measure.gradient_profile(random_trace("gru", [3]), torch.ones(2, 1))
