from __future__ import annotations

import math

import pytest
import torch

from rnn_diag.cells import RNNEquations, State, Weights
from rnn_diag.diagnostics.impulse import bounded_input_gain, impulse_response
from rnn_diag.diagnostics.jacobian import state_jacobian
from rnn_diag.testing.known import linear_trace
from rnn_diag.trace import Trace
from tests.reference.random_layers import CELLS, mask_of, random_trace

ROTATION = [[math.cos(0.5), -math.sin(0.5)], [math.sin(0.5), math.cos(0.5)]]


def scalar(nonlinearity: str, weight: float, bias: float = 0.0, start: float = 0.0, steps: int = 60) -> Trace:
    weights = Weights(*(torch.full((1, 1), value, dtype=torch.float64) for value in (1.0, weight)))
    inputs = torch.full((steps, 1, 1), bias, dtype=torch.float64)
    initial = State(torch.full((1, 1), start, dtype=torch.float64))
    return Trace.of("l0", RNNEquations(nonlinearity), weights, inputs, initial)


def test_response_of_a_scalar_linear_layer_is_the_weight_to_the_lag() -> None:
    found = impulse_response(linear_trace(0.8, steps=60), step=10)
    expected = 0.8 ** torch.arange(50, dtype=torch.float64)
    torch.testing.assert_close(found.response[:, 0], expected, rtol=1e-7, atol=1e-10)
    geometric = (1 - expected * 0.8) / 0.2
    torch.testing.assert_close(found.step_response[:, 0], geometric, rtol=1e-9, atol=1e-10)
    assert found.half_life.item() == pytest.approx(math.log(0.5) / math.log(0.8), rel=1e-6)
    assert found.settling_steps.item() == math.floor(math.log(0.02) / math.log(0.8)) + 1
    assert found.gain.item() == pytest.approx(5.0, rel=1e-4)
    assert (found.peak.item(), found.peak_lag.item()) == (pytest.approx(1.0), 0)


def test_a_non_normal_layer_peaks_late_and_forgets_all_the_same() -> None:
    jordan = linear_trace([[0.9, 1.0], [0.0, 0.9]], steps=300)
    found = impulse_response(jordan, direction=torch.tensor([0.0, 1.0]))
    assert found.peak_lag.item() == 9
    assert found.peak.item() == pytest.approx(3.893528, abs=1e-5)
    assert found.verdicts == ("forgets",)


@pytest.mark.parametrize(
    ("trace", "verdict"),
    [
        (linear_trace(0.9, steps=60), "forgets"),
        (linear_trace(-0.9, steps=60), "forgets"),
        (linear_trace(0.0, steps=60), "forgets"),
        (linear_trace(1.0, steps=60), "integrator"),
        (linear_trace(1.1, steps=60), "unstable"),
        (linear_trace([[1.0, 1.0], [0.0, 1.0]], steps=60), "unstable"),  # grows linearly
        (linear_trace(ROTATION, steps=60), "holds"),
        (scalar("relu", 1.0, bias=0.5), "integrator"),
        (scalar("relu", 1.2, bias=0.5), "unstable"),
        (scalar("relu", 1.2, bias=-1.0), "forgets"),  # never active
        (scalar("tanh", 0.9), "forgets"),
        (scalar("tanh", 3.0), "unstable"),  # leaves 0 for a fixed point, and stays there
        (scalar("tanh", 3.0, start=0.995), "forgets"),  # a small kick does not leave that one
        (scalar("sigmoid", 3.0), "forgets"),
        (linear_trace(1.0, steps=5), "undecided"),
    ],
)
def test_verdict_is_the_one_that_theory_gives(trace: Trace, verdict: str) -> None:
    assert impulse_response(trace).verdicts == (verdict,)


def test_a_latch_that_a_large_kick_flips_holds_without_adding_up() -> None:
    assert impulse_response(scalar("tanh", 3.0, start=-0.995), size=3.0).verdicts == ("holds",)


@pytest.mark.parametrize("cell", CELLS)
def test_small_kicks_move_the_state_by_its_jacobian(cell: str) -> None:
    trace = random_trace(cell, [4, 4], grads=None)
    later = state_jacobian(trace, 1)
    # A kick of the input at step 0 changes s_0; the tangent recurrence carries it on.
    direction = torch.tensor([1.0, -2.0], dtype=torch.float64)
    size = 1e-6
    found = impulse_response(trace, direction=direction, size=size)
    kicked_inputs = trace.inputs.clone()
    kicked_inputs[0] += size * direction / direction.norm()
    kicked = Trace.of("l0", trace.equations, trace.weights, kicked_inputs, trace.unrolled.initial)
    moved = (kicked.hidden[0] - trace.hidden[0]) / size
    if kicked.cell is not None and trace.cell is not None:
        moved = torch.cat((moved, (kicked.cell[0] - trace.cell[0]) / size), dim=-1)
    expected = torch.einsum("brs,bs->br", later, moved)[:, : trace.hidden.shape[-1]].norm(dim=-1)
    torch.testing.assert_close(found.response[1], expected, rtol=1e-4, atol=1e-7)


def test_responses_end_with_their_sequence() -> None:
    linear = linear_trace(0.5, steps=20, batch=2)
    trace = Trace.of(
        "l0", linear.equations, linear.weights, linear.inputs, State(linear.initial_hidden), mask_of([20, 12])
    )
    found = impulse_response(trace, step=2)
    assert found.response.isnan().sum(0).tolist() == [0, 8]
    torch.testing.assert_close(found.response[:10, 1], found.response[:10, 0])
    assert found.verdicts == ("forgets", "forgets")


def test_a_reverse_layer_is_kicked_at_the_first_step_it_reads() -> None:
    forward = random_trace("gru", [6, 4], grads=None)
    turned = torch.zeros_like(forward.inputs)
    turned[:6, 0], turned[:4, 1] = forward.inputs[:6, 0].flip(0), forward.inputs[:4, 1].flip(0)
    initial = State(forward.initial_hidden)
    reverse = Trace.of("l0", forward.equations, forward.weights, turned, initial, forward.mask, reverse=True)
    found, expected = impulse_response(reverse).response, impulse_response(forward).response
    torch.testing.assert_close(found, expected, equal_nan=True)


def test_bounded_noise_drives_a_forgetting_layer_no_further_than_its_gain() -> None:
    assert bounded_input_gain(linear_trace(0.5, steps=50)).item() <= 2.0
    assert bounded_input_gain(linear_trace(0.5, steps=50), draws=64).item() > 1.8
    assert bounded_input_gain(linear_trace(1.0, steps=400)).item() > 20


def test_kicks_that_are_none_are_refused() -> None:
    trace = linear_trace(0.5, steps=9)
    with pytest.raises(ValueError, match="step 9; expected one of a trace of 9 steps"):
        impulse_response(trace, step=9)
    with pytest.raises(ValueError, match=r"direction of shape \(2,\); expected a positive size and a direction of 1"):
        impulse_response(trace, direction=torch.ones(2))
    with pytest.raises(ValueError, match="size=0; expected a finite number above 0"):
        bounded_input_gain(trace, size=0)


def test_an_input_that_is_not_finite_shows_as_an_infinite_response() -> None:
    linear = linear_trace(0.5, steps=20, batch=2)
    inputs = linear.inputs.clone()
    inputs[5, 1] = math.nan
    trace = Trace.of("l0", linear.equations, linear.weights, inputs, State(linear.initial_hidden))
    assert impulse_response(trace).verdicts == ("forgets", "unstable")
    assert bounded_input_gain(trace).isinf().tolist() == [False, True]
