from __future__ import annotations

import math

import pytest
import torch

from rnn_diag.cells import RNNEquations, State, Weights
from rnn_diag.diagnostics.jacobian import state_jacobian
from rnn_diag.diagnostics.lyapunov import kaplan_yorke_dimension, lyapunov_exponents
from rnn_diag.testing.known import forgetting_trace, linear_trace
from rnn_diag.trace import Trace
from tests.reference.random_layers import CELLS, random_trace


def random_tanh_network(units: int, gain: float, steps: int, batch: int = 1) -> Trace:
    weight = gain / math.sqrt(units) * torch.randn(units, units, dtype=torch.float64)
    weights = Weights(torch.zeros(units, 1, dtype=torch.float64), weight)
    inputs = torch.zeros(steps, batch, 1, dtype=torch.float64)
    return Trace.of("l0", RNNEquations(), weights, inputs, State(torch.randn(batch, units, dtype=torch.float64)))


def test_exponents_of_a_linear_layer_are_the_logs_of_its_eigenvalues() -> None:
    exponents = lyapunov_exponents(linear_trace([[2.0, 5.0], [0.0, 0.5]], steps=200), k=2, warmup=100)
    assert exponents[0].tolist() == pytest.approx([math.log(2), math.log(0.5)], rel=1e-10)


def test_exponents_of_a_rotation_are_zero() -> None:
    turn = [[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]]
    assert lyapunov_exponents(linear_trace(turn, steps=50), k=2).abs().max().item() < 1e-14


def test_the_memory_of_an_lstm_that_only_forgets_decays_with_its_forget_gate() -> None:
    exponents = lyapunov_exponents(forgetting_trace(0.98, steps=100, units=2), k=4, warmup=5)

    def length(c: float) -> float:
        """The full state's change (dh, dc) when c changes by one: h = tanh c follows it."""
        return math.hypot(1.0, 1 - math.tanh(c) ** 2)

    expected = math.log(0.98) + math.log(length(0.98**100) / length(0.98**5)) / 95
    assert exponents[0, :2].tolist() == pytest.approx([expected] * 2, rel=1e-10)
    assert exponents[0, 2:].max().item() < -20  # the hidden state alone is forgotten at once


def test_a_random_tanh_network_of_gain_three_is_chaotic_with_the_known_exponent() -> None:
    exponents = lyapunov_exponents(random_tanh_network(200, 3.0, steps=500, batch=2), k=1, warmup=100)
    assert exponents.mean().item() == pytest.approx(0.30, abs=0.05)  # one draw of the weights scatters by 0.02


def test_a_random_tanh_network_of_gain_below_one_contracts() -> None:
    assert lyapunov_exponents(random_tanh_network(100, 0.8, steps=200), warmup=50).item() < -0.1


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_all_exponents_add_up_to_the_mean_log_determinant(cell: str, reverse: bool) -> None:
    trace = random_trace(cell, [6, 4], grads=None, reverse=reverse)
    jacobians = [state_jacobian(trace, t) for t in range(6)]
    size = jacobians[0].shape[-1]
    exponents = lyapunov_exponents(trace, k=size)
    for sequence, length in enumerate([6, 4]):
        logs = [torch.linalg.slogdet(jacobian[sequence]).logabsdet for jacobian in jacobians[:length]]
        expected = torch.stack(logs).mean().item()
        assert exponents[sequence].sum().item() == pytest.approx(expected, rel=1e-9)


def test_a_padded_sequence_has_the_exponents_of_the_sequence_alone() -> None:
    both = random_trace("lstm", [9, 5], grads=None)
    initial = State(both.initial_hidden[1:], both.unrolled.initial.cell[1:])
    alone = Trace.of("l0", both.equations, both.weights, both.inputs[:5, 1:], initial)
    torch.testing.assert_close(lyapunov_exponents(both, 3, warmup=2)[1:], lyapunov_exponents(alone, 3, warmup=2))


def test_a_sequence_that_ends_within_the_warmup_has_unknown_exponents() -> None:
    assert lyapunov_exponents(random_trace("gru", [9, 2], grads=None), warmup=2).isnan().flatten().tolist() == [
        False,
        True,
    ]


def test_a_layer_that_forgets_at_once_has_minus_infinity() -> None:
    assert lyapunov_exponents(linear_trace(0.0, steps=3)).item() == -math.inf


def test_measuring_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    lyapunov_exponents(linear_trace(0.5, steps=3))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_non_finite_input_gives_nan_for_its_own_sequence_only() -> None:
    clean = random_trace("lstm", [6, 6], grads=None)
    inputs = clean.inputs.clone()
    inputs[2, 1] = math.nan
    trace = Trace.of("l0", clean.equations, clean.weights, inputs, clean.unrolled.initial)
    assert lyapunov_exponents(trace, k=2).isnan().tolist() == [[False, False], [True, True]]


def test_exponents_are_found_in_inference_mode_too() -> None:
    with torch.inference_mode():
        exponents = lyapunov_exponents(random_trace("lstm", [5, 3], grads=None), k=2)
    assert exponents.isfinite().all()


def test_more_exponents_than_the_state_is_long_are_refused() -> None:
    with pytest.raises(ValueError, match="k=3; expected 1 to 2"):
        lyapunov_exponents(forgetting_trace(0.5, steps=3), k=3)


@pytest.mark.parametrize(
    ("exponents", "dimension"),
    [
        ([-0.1, -1.0], 0.0),
        ([0.9056, 0.0, -14.5723], 2.0 + 0.9056 / 14.5723),  # the Lorenz attractor
        ([0.5, -0.5, -1.0], 2.0),
        ([0.5, 0.2], 2.0),
        ([-1.0, 0.5], 1.5),
        ([0.3, -math.inf], 1.0),
    ],
)
def test_kaplan_yorke_dimension_is_the_one_worked_out_by_hand(exponents: list[float], dimension: float) -> None:
    assert kaplan_yorke_dimension(torch.tensor(exponents, dtype=torch.float64)).item() == pytest.approx(dimension)


def test_kaplan_yorke_dimension_of_unknown_exponents_is_unknown() -> None:
    assert kaplan_yorke_dimension(torch.tensor([[0.1, math.nan], [0.1, -0.2]])).isnan().tolist() == [True, False]
