"""A recurrence unrolled and swept gives what a differentiable loop over time gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnn_diag.cells import State, Weights
from rnn_diag.cells.cell import advance
from rnn_diag.engine.sweep import sweep, weight_grads
from rnn_diag.engine.unroll import back_to_front, unroll, unroll_from_states
from tests.reference.random_layers import EQUATIONS, random_inputs, random_state, random_weights

EXACT = {"rtol": 1e-11, "atol": 1e-11}
STEPS, BATCH = 6, 3
MASK = torch.arange(STEPS).unsqueeze(1) < torch.tensor([6, 4, 1])


def loop(kind: str, weights: Weights, inputs: Tensor, initial: State, mask: Tensor | None) -> list[State]:
    states = [initial]
    for t in range(len(inputs)):
        new = advance(EQUATIONS[kind], inputs[t], states[-1], weights)
        states.append(new if mask is None else new.where(mask[t].unsqueeze(-1), held=states[-1]))
    return states[1:]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("kind", EQUATIONS)
def test_states_and_all_gradients_are_those_of_a_loop(kind: str, mask: Tensor | None, bias: bool) -> None:
    equations, weights = EQUATIONS[kind], random_weights(kind, bias=bias)
    for weight in weights.present().values():
        weight.mul_(0.5).requires_grad_()
    inputs = random_inputs(kind, STEPS, BATCH)
    initial = State(*(part.requires_grad_() for part in random_state(kind, BATCH) if part is not None))
    states = loop(kind, weights, inputs, initial, mask)
    direct = torch.randn(STEPS, *initial.hidden.shape, dtype=torch.float64)
    if mask is not None:
        direct = direct * mask.unsqueeze(-1)
    final = State(*(torch.randn_like(part) for part in states[-1] if part is not None))
    hidden = torch.stack([state.hidden for state in states])
    results = [hidden, *(part for part in states[-1] if part is not None)]
    leaves = [*weights.present().values(), *(part for part in initial if part is not None)]
    given = [direct, *(part for part in final if part is not None)]
    *expected_weights, expected_hidden = torch.autograd.grad(results, leaves, given)[: len(weights.present()) + 1]
    with torch.no_grad():
        unrolled = unroll(equations, weights, inputs, initial, mask)
        torch.testing.assert_close(unrolled.hidden, hidden, **EXACT)
        swept = sweep(equations, weights, unrolled, direct, final)
        found = weight_grads(equations, weights, inputs, unrolled, swept)
    torch.testing.assert_close(swept.initial.hidden, expected_hidden, **EXACT)
    for name, expected in zip(weights.present(), expected_weights, strict=True):
        torch.testing.assert_close(found[name], expected, **EXACT)


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("kind", EQUATIONS)
def test_known_states_give_the_same_as_unrolling(kind: str, mask: Tensor | None) -> None:
    equations, weights = EQUATIONS[kind], random_weights(kind)
    inputs, initial = random_inputs(kind, STEPS, BATCH), random_state(kind, BATCH)
    ran = unroll(equations, weights, inputs, initial, mask)
    known = ran.hidden if mask is None else ran.hidden * mask.unsqueeze(-1)  # as torch pads it
    found = unroll_from_states(equations, weights, inputs, initial, known, mask)
    torch.testing.assert_close(found.hidden, ran.hidden, **EXACT)
    torch.testing.assert_close(found.final.hidden, ran.final.hidden, **EXACT)
    pairs = [(found.cell, ran.cell), *zip(found.steps.preactivations, ran.steps.preactivations, strict=True)]
    for a, b in [*pairs, *zip(found.steps.gates, ran.steps.gates, strict=True)]:
        if a is not None and b is not None:
            valid = MASK if mask is not None else torch.ones_like(MASK)
            torch.testing.assert_close(a[valid], b[valid], **EXACT)


@pytest.mark.parametrize("kind", EQUATIONS)
def test_what_stands_at_padding_reaches_no_gradient(kind: str) -> None:
    equations, weights = EQUATIONS[kind], random_weights(kind)
    inputs, initial = random_inputs(kind, STEPS, BATCH), random_state(kind, BATCH)
    direct = torch.randn(STEPS, *initial.hidden.shape, dtype=torch.float64) * MASK.unsqueeze(-1)
    found = []
    for padding in (0.0, float("nan")):
        fed = inputs.masked_fill(~MASK.unsqueeze(-1), padding)
        unrolled = unroll(equations, weights, fed, initial, MASK)
        hidden = unrolled.hidden.masked_fill(~MASK.unsqueeze(-1), padding)
        for ran in (unrolled, unroll_from_states(equations, weights, fed, initial, hidden, MASK)):
            swept = sweep(equations, weights, ran, direct)
            assert not swept.projected_grad[~MASK].any()
            found.append(swept.projected_grad)
    for other in found[1:]:
        torch.testing.assert_close(found[0], other, **EXACT)


@pytest.mark.parametrize("kind", EQUATIONS)
def test_many_gradients_swept_at_once_are_each_what_they_are_alone(kind: str) -> None:
    equations, weights = EQUATIONS[kind], random_weights(kind)
    inputs, initial = random_inputs(kind, STEPS, BATCH), random_state(kind, BATCH)
    unrolled = unroll(equations, weights, inputs, initial, MASK)
    many = torch.randn(STEPS, 2, 4, *initial.hidden.shape, dtype=torch.float64) * MASK[:, None, None, :, None]
    together = sweep(equations, weights, unrolled, many)
    alone = sweep(equations, weights, unrolled, many[:, 1, 2])
    torch.testing.assert_close(together.hidden_grad[:, 1, 2], alone.hidden_grad, **EXACT)
    torch.testing.assert_close(together.projected_grad[:, 1, 2], alone.projected_grad, **EXACT)
    torch.testing.assert_close(together.initial.hidden[1, 2], alone.initial.hidden, **EXACT)


@pytest.mark.parametrize("others", [(), (2,), (2, 3)])
def test_back_to_front_reverses_each_sequence_within_its_length(others: tuple[int, ...]) -> None:
    steps = torch.arange(STEPS).view(-1, *[1] * len(others), 1, 1).expand(STEPS, *others, BATCH, 2)
    turned = back_to_front(steps, MASK)
    for b, expected in enumerate(([5, 4, 3, 2, 1, 0], [3, 2, 1, 0, 4, 5], [0, 1, 2, 3, 4, 5])):
        assert turned[(slice(None), *[0] * len(others), b, 0)].tolist() == expected
    assert torch.equal(back_to_front(turned, MASK), steps)
    assert torch.equal(back_to_front(steps, None), steps.flip(0))
