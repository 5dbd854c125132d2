"""Running in place and in bulk gives what the plain loops give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnn_diag.cells import State, Weights
from rnn_diag.engine import in_bulk as engine
from rnn_diag.engine.in_bulk import InBulk, in_bulk
from rnn_diag.engine.sweep import sweep, weight_grads
from rnn_diag.engine.unroll import unroll, unroll_from_states
from tests.engine.test_elementwise import MixingUnits
from tests.reference.random_layers import EQUATIONS, FEATURES, WRITTEN, mask_of, random_state, random_weights

EXACT = {"rtol": 1e-12, "atol": 1e-12}
LENGTHS = [7, 4, 1]


def layer(kind: str, bias: bool, padded: bool) -> tuple[Weights, Tensor, State, Tensor | None]:
    torch.manual_seed(0)
    inputs = torch.randn(max(LENGTHS), len(LENGTHS), FEATURES, dtype=torch.float64)
    weights, initial = random_weights(kind, bias=bias, scale=0.5), random_state(kind, len(LENGTHS))
    return weights, inputs, initial, mask_of(LENGTHS) if padded else None


def engine_of(kind: str, weights: Weights) -> InBulk:
    found = in_bulk(EQUATIONS[kind], weights)
    assert found is not None
    return found


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", WRITTEN)
@torch.no_grad()
def test_states_and_gates_are_those_of_the_plain_loop(kind: str, bias: bool, padded: bool, keeps: bool) -> None:
    weights, inputs, initial, mask = layer(kind, bias, padded)
    before = inputs.clone()
    plain = unroll(EQUATIONS[kind], weights, inputs, initial, mask, keeps)
    found = engine_of(kind, weights).unroll(EQUATIONS[kind], weights, inputs, initial, mask, keeps)
    assert torch.equal(inputs, before)
    torch.testing.assert_close(found.hidden, plain.hidden, **EXACT)
    assert (found.cell is None) == (plain.cell is None)
    if found.cell is not None:
        torch.testing.assert_close(found.cell, plain.cell, **EXACT)
    valid = torch.ones(inputs.shape[:2], dtype=torch.bool) if mask is None else mask
    one, other = found.steps, plain.steps
    for a, b in zip(
        (one.emitted, *one.gates, *one.preactivations, *one.kept),
        (other.emitted, *other.gates, *other.preactivations, *other.kept),
        strict=True,
    ):
        torch.testing.assert_close(a[valid], b[valid], **EXACT)


@pytest.mark.parametrize("several", [(), (1,), (2, 3)])
@pytest.mark.parametrize("at_once", [1, 60, 10**6])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", WRITTEN)
@torch.no_grad()
def test_one_or_several_gradients_are_those_of_the_plain_sweep(
    kind: str, padded: bool, at_once: int, several: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "AT_ONCE", at_once)
    equations, (weights, inputs, initial, mask) = EQUATIONS[kind], layer(kind, True, padded)
    unrolled = unroll(equations, weights, inputs, initial, mask)
    direct = torch.randn(len(inputs), *several, *unrolled.hidden.shape[1:], dtype=torch.float64)
    direct = direct if mask is None else direct * mask.view(len(inputs), *(1 for _ in several), -1, 1)
    for final in (None, State(*(torch.randn(*several, *p.shape).double() for p in initial if p is not None))):
        plain = sweep(equations, weights, unrolled, direct, final)
        found = engine_of(kind, weights).sweep(equations, weights, unrolled, direct, final)
        for name, expected in vars(plain).items():
            given = getattr(found, name)
            pairs = zip(given, expected, strict=True) if isinstance(expected, State) else [(given, expected)]
            for a, b in pairs:
                assert (a is None) == (b is None)
                if a is not None:
                    torch.testing.assert_close(a, b, **EXACT)
        assert found.recurrent_grad is found.projected_grad or plain.recurrent_grad is not plain.projected_grad


@pytest.mark.parametrize("at_once", [1, 60, 10**6])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", WRITTEN)
@torch.no_grad()
def test_gradients_of_a_layer_are_those_of_the_plain_sweep(
    kind: str, padded: bool, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "AT_ONCE", at_once)
    equations = EQUATIONS[kind]
    for bias in (False, True):
        weights, inputs, initial, mask = layer(kind, bias, padded)
        unrolled = unroll(equations, weights, inputs, initial, mask)
        direct = torch.randn_like(unrolled.hidden)
        direct = direct if mask is None else direct * mask.unsqueeze(-1)
        final = State(*(torch.randn_like(part) for part in initial if part is not None))
        for given in (final, State(None, None)):  # type: ignore[arg-type]
            swept = sweep(equations, weights, unrolled, direct, given)
            found = engine_of(kind, weights).layer_grads(equations, weights, inputs, unrolled, direct, given, True)
            torch.testing.assert_close(found.inputs, swept.projected_grad @ weights.weight_ih, **EXACT)
            for one, other in zip(found.initial, swept.initial, strict=True):
                assert (one is None) == (other is None)
                if one is not None:
                    torch.testing.assert_close(one, other, **EXACT)
            expected = weight_grads(equations, weights, inputs, unrolled, swept)
            assert set(found.weights) == set(expected)
            for name, grad in expected.items():
                torch.testing.assert_close(found.weights[name], grad, **EXACT)


def test_what_cannot_run_in_bulk_takes_the_plain_loop() -> None:
    weights = random_weights("minimal_gated_unit")
    with torch.no_grad():
        assert in_bulk(EQUATIONS["minimal_gated_unit"], weights) is not None
        assert in_bulk(MixingUnits(), weights) is None
        assert in_bulk(EQUATIONS["minimal_gated_unit"], weights.to(torch.bfloat16)) is None
        with torch.autocast("cpu", torch.bfloat16):
            assert in_bulk(EQUATIONS["minimal_gated_unit"], weights) is None
    assert in_bulk(EQUATIONS["minimal_gated_unit"], weights) is None, "the graph is recorded"


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", WRITTEN)
def test_steps_from_known_states_are_those_of_the_plain_loop(kind: str, padded: bool) -> None:
    weights, inputs, initial, mask = layer(kind, True, padded)
    with torch.no_grad():
        hidden = unroll(EQUATIONS[kind], weights, inputs, initial, mask).hidden
        found = unroll_from_states(EQUATIONS[kind], weights, inputs, initial, hidden, mask)
    plain = unroll_from_states(EQUATIONS[kind], weights, inputs, initial, hidden, mask)  # the graph is recorded: a loop
    valid = torch.ones(inputs.shape[:2], dtype=torch.bool) if mask is None else mask
    one, other = found.steps, plain.steps
    assert [len(part) for part in one[2:]] == [len(part) for part in other[2:]]
    for a, b in zip(
        (one.emitted, *one.gates, *one.preactivations, *one.kept),
        (other.emitted, *other.gates, *other.preactivations, *other.kept),
        strict=True,
    ):
        torch.testing.assert_close(a[valid], b[valid], **EXACT)
    for a, b in ((found.cell, plain.cell), (one.cell, other.cell)):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, **EXACT)
