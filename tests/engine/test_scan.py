"""A scan gives what a loop gives, and its engine what the explicit engine gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnn_diag.cells import State
from rnn_diag.engine import scan as module
from rnn_diag.engine.engine import Explicit
from rnn_diag.engine.scan import Scan, scan, scan_of
from rnn_diag.engine.sweep import weight_grads
from rnn_diag.engine.unroll import unroll, unroll_from_states
from rnn_diag.nn import Recurrent
from tests.reference.random_layers import EQUATIONS, hidden_size, mask_of, random_inputs, random_state, random_weights

EXACT = {"rtol": 1e-11, "atol": 1e-12}
LINEAR = [kind for kind in EQUATIONS if scan_of(EQUATIONS[kind], random_weights(kind))]
MASKS = {"whole": None, "padded": mask_of([6, 3, 1])}


def loop(factors: Tensor, drive: Tensor, initial: Tensor) -> Tensor:
    states = [initial]
    for t in range(len(drive)):
        states.append(factors[min(t, len(factors) - 1)] * states[-1] + drive[t])
    return torch.stack(states[1:])


@pytest.mark.parametrize("chunk", [1, 12, 2**20])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8, 33])
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("constant", [False, True])
def test_a_scan_is_the_loop(
    steps: int, dtype: torch.dtype, constant: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    factors = torch.randn(1 if constant else steps, 2, 3, dtype=dtype)
    drive, initial = torch.randn(steps, 2, 3, dtype=dtype), torch.randn(2, 3, dtype=dtype)
    torch.testing.assert_close(scan(factors, drive, initial), loop(factors, drive, initial), **EXACT)


def test_linear_recurrences_are_those_whose_memory_no_gate_sees() -> None:
    assert LINEAR == ["min_gru", "min_lstm", "lru", "selective"]
    assert scan_of(EQUATIONS["min_gru"], random_weights("min_gru", dtype=torch.bfloat16)) is None


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", LINEAR)
@torch.no_grad()
def test_states_and_steps_are_the_explicit_engines(kind: str, mask: str) -> None:
    equations, weights, initial = EQUATIONS[kind], random_weights(kind), random_state(kind, 3)
    inputs = random_inputs(kind, 6, 3)
    plain = unroll(equations, weights, inputs, initial, MASKS[mask])
    known = unroll_from_states(equations, weights, inputs, initial, plain.hidden, MASKS[mask])
    for found in (Scan().unroll(equations, weights, inputs, initial, MASKS[mask]), known):
        pairs = [(found.hidden, plain.hidden), (found.cell, plain.cell)]
        for of_step in ("gates", "preactivations", "kept"):
            pairs += zip(getattr(found.steps, of_step), getattr(plain.steps, of_step), strict=True)
        for one, other in pairs:
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other, **EXACT)


@pytest.mark.parametrize("axes", [(), (2,), (2, 2)])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", LINEAR)
@torch.no_grad()
def test_gradients_are_the_explicit_engines(kind: str, mask: str, axes: tuple[int, ...]) -> None:
    equations, weights, initial = EQUATIONS[kind], random_weights(kind), random_state(kind, 3)
    inputs, valid = random_inputs(kind, 6, 3), MASKS[mask]
    ran = unroll(equations, weights, inputs, initial, valid)
    direct = torch.randn(6, *axes, 3, hidden_size(kind), dtype=torch.float64)
    if valid is not None:
        direct = direct * valid.view(6, *[1] * len(axes), 3, 1)
    final = State(*(torch.randn(*axes, *part.shape, dtype=torch.float64) for part in initial if part is not None))
    for given in (None, final):
        plain = Explicit().sweep(equations, weights, ran, direct, given)
        found = Scan().sweep(equations, weights, ran, direct, given)
        for name in ("hidden_grad", "hidden_grad_recurrent", "cell_grad", "projected_grad", "recurrent_grad"):
            one, other = getattr(found, name), getattr(plain, name)
            assert (one is None) == (other is None), name
            if one is not None:
                torch.testing.assert_close(one, other, **EXACT, msg=lambda text, name=name: f"{name}: {text}")
        for one, other in zip(found.initial, plain.initial, strict=True):
            if one is not None:
                torch.testing.assert_close(one, other, **EXACT)
    if not axes:
        expected = weight_grads(equations, weights, inputs, ran, plain)
        of_layer = Scan().layer_grads(equations, weights, inputs, ran, direct, final, True)
        for name, grad in expected.items():
            torch.testing.assert_close(of_layer.weights[name], grad, **EXACT)


def test_a_minimal_grus_states_are_those_of_its_papers_scan_in_log_space() -> None:
    layer = Recurrent("rnn_diag.cells.MinGRUEquations", 2, 3).double()
    inputs = torch.randn(50, 4, 2).double()
    z_z, z_n = (inputs @ layer.weight_ih_l0.T + layer.bias_ih_l0 + layer.bias_hh_l0).chunk(2, -1)
    log_kept = torch.nn.functional.logsigmoid(-z_z).cumsum(0)
    positive = torch.where(z_n >= 0, z_n + 0.5, z_n.sigmoid())
    written = torch.nn.functional.logsigmoid(z_z) + positive.log()
    expected = (log_kept + torch.logcumsumexp(written - log_kept, dim=0)).exp()
    torch.testing.assert_close(layer(inputs)[0], expected)


def test_a_long_sequence_takes_no_step_by_step_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, calls = Recurrent("rnn_diag.cells.MinGRUEquations", 2, 3), []
    step = type(layer.equations).step
    monkeypatch.setattr(type(layer.equations), "step", lambda *given: calls.append(1) or step(*given))
    layer(torch.randn(5000, 1, 2))[0].sum().backward()
    assert len(calls) == 1
