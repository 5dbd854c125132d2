"""What an adjoint multiplies gradients by gives the adjoint, and what is not linear is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnn_diag.engine.elementwise import Elementwise, ElementwiseStep, NotElementwiseError, Statement, elementwise_step
from rnn_diag.engine.linear import ONE, Factor, linear_adjoint
from rnn_diag.engine.program import evaluated
from tests.reference.random_layers import EQUATIONS, UNITS, WRITTEN, random_state, random_weights


@pytest.mark.parametrize("kind", WRITTEN)
@torch.no_grad()
def test_factors_times_gradients_are_the_adjoint(kind: str) -> None:
    equations, weights, before = EQUATIONS[kind], random_weights(kind), random_state(kind, 3)
    before = before._replace(hidden=torch.randn(3, UNITS, dtype=torch.float64))  # no projection between
    projected, recurrent = torch.randn(2, 3, len(equations.blocks) * UNITS, dtype=torch.float64)
    step = equations.step(projected, recurrent, before, weights)
    e, carried = torch.randn(2, 3, UNITS, dtype=torch.float64)
    expected = equations.adjoint(step, before, e, carried if equations.has_cell else None, weights)
    read = elementwise_step(equations, weights)
    found = linear_adjoint(read)
    given = {"emitted": step.emitted, "new_cell": step.cell, "hidden": before.hidden, "cell": before.cell}
    given |= {f"gate{k}": gate for k, gate in enumerate(step.gates)} | dict(weights.extra)
    given |= {f"kept{k}": kept for k, kept in enumerate(step.kept)}
    values = {"ones": torch.ones_like(e), ONE: torch.ones_like(e)}
    for name, blocks in read.backward.inputs.items():
        if (value := given.get(name)) is not None:
            values |= dict(zip(blocks, value.chunk(len(blocks), dim=-1), strict=True))
    evaluated(found.statements, values, {})
    c = carried if found.cell_by_emitted is None else carried + e * values[found.cell_by_emitted]

    def product(factor: Factor) -> Tensor:
        parts = [grad * values[name] for grad, name in ((e, factor.emitted), (c, factor.cell)) if name is not None]
        return sum(parts, torch.zeros_like(e))

    for factors, grad in ((found.recurrent, expected.recurrent_grad), (found.projected, expected.projected_grad)):
        torch.testing.assert_close(torch.cat([product(factor) for factor in factors], dim=-1), grad)
    for factor, grad in (
        (found.previous_cell, expected.previous_cell_grad),
        (found.previous_hidden, expected.previous_hidden_grad),
    ):
        assert (factor is None) == (grad is None)
        if factor is not None and grad is not None:
            torch.testing.assert_close(product(factor), grad)


def test_an_lstms_input_forget_and_candidate_gates_see_the_memory_alone_and_its_output_gate_the_output() -> None:
    found = linear_adjoint(elementwise_step(EQUATIONS["lstm"], random_weights("lstm")))
    assert [factor.emitted is None for factor in found.recurrent] == [True, True, True, False]
    assert [factor.cell is None for factor in found.recurrent] == [False, False, False, True]
    assert found.previous_cell == Factor(None, "gate1"), "the carousel is the forget gate"


@pytest.mark.parametrize(
    "statement",
    [
        Statement("x0", "", ("emitted_grad", "emitted_grad"), "mul"),
        Statement("x0", "", ("emitted_grad", "gate0"), "add"),
        Statement("x0", "", ("emitted_grad",), "tanh"),
        Statement("x0", "", ("gate0", "emitted_grad"), "div"),
    ],
)
def test_what_is_not_linear_in_the_gradient_is_refused(statement: Statement) -> None:
    inputs = {"emitted_grad": ("emitted_grad",), "gate0": ("gate0",)}
    outputs = {"projected_grad": ("x0",), "recurrent_grad": ("x0",)}
    backward = Elementwise(inputs, outputs, (statement,))
    with pytest.raises(NotElementwiseError):
        linear_adjoint(ElementwiseStep(Elementwise({}, {}, ()), backward, 1, {}))
