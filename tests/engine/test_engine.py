"""What every engine gives: the gradients of all that a layer was given."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.cells.equations import State
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.engine import Explicit
from rnn_diag.engine.unroll import unroll
from tests.reference.random_layers import EQUATIONS, hidden_size, random_inputs, random_state, random_weights


@pytest.mark.parametrize("kind", EQUATIONS)
def test_inputs_initial_state_and_every_weight_have_autograds_gradient(kind: str) -> None:
    equations, engine = EQUATIONS[kind], Explicit()
    inputs = random_inputs(kind, 5, 2).requires_grad_()
    weights = random_weights(kind, scale=0.5).map(lambda value: value.requires_grad_())
    initial = State(*(None if part is None else part.requires_grad_() for part in random_state(kind, 2)))
    unrolled = unroll(equations, weights, inputs, initial)
    direct = torch.randn(5, 2, hidden_size(kind), dtype=torch.float64)
    leaves = {
        "inputs": inputs,
        **{f"initial {k}": p for k, p in enumerate(initial) if p is not None},
        **weights.present(),
    }
    expected = dict(zip(leaves, torch.autograd.grad(unrolled.hidden, list(leaves.values()), direct), strict=True))
    with torch.no_grad():
        plain = Weights.from_names({name: value.detach() for name, value in weights.present().items()})
        ran = engine.unroll(equations, plain, inputs.detach(), initial.map(torch.Tensor.detach))
        final = State(torch.zeros_like(ran.hidden[0]), None if ran.cell is None else torch.zeros_like(ran.cell[0]))
        found = engine.layer_grads(equations, plain, inputs.detach(), ran, direct, final, inputs_need_grad=True)
    given = {"inputs": found.inputs, **{f"initial {k}": p for k, p in enumerate(found.initial)}, **found.weights}
    for name, grad in expected.items():
        torch.testing.assert_close(given[name], grad, rtol=1e-9, atol=1e-11)
    assert engine.layer_grads(equations, plain, inputs.detach(), ran, direct, final, False).inputs is None
