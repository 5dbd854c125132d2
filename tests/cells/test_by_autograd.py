"""Equations with a forward step only give what explicit ones give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnn_diag.cells import (
    AutogradEquations,
    Equations,
    GRUCell,
    GRUEquations,
    LSTMCell,
    PeepholeLSTMCell,
    RNNCell,
    State,
    Step,
    Weights,
)
from rnn_diag.interventions.flossing import lyapunov_penalty
from rnn_diag.nn import Recurrent


class ForwardOnly(AutogradEquations):
    """Another recurrence's forward step, without its adjoint."""

    name = "forward_only"

    def __init__(self, explicit: Equations) -> None:
        self.explicit = explicit
        self.blocks = explicit.blocks
        self.has_cell = explicit.has_cell  # type: ignore[misc]

    def forward_step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        return self.explicit.step(projected, recurrent, previous, weights)


CELLS = (RNNCell(3, 4), LSTMCell(3, 4), LSTMCell(3, 4, proj_size=2), PeepholeLSTMCell(3, 4), GRUCell(3, 4))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{type(cell).__name__}-{cell.proj_size}")
def test_adjoint_and_jacobian_equal_the_explicit_ones(cell: LSTMCell) -> None:
    torch.manual_seed(0)
    weights = cell.weights.to(torch.float64)
    previous = State(
        torch.randn(2, weights.weight_hh.shape[1], dtype=torch.float64),
        torch.randn(2, 4, dtype=torch.float64) if cell.equations.has_cell else None,
    )
    projected = torch.randn(2, len(weights.weight_hh), dtype=torch.float64)
    recurrent = previous.hidden @ weights.weight_hh.T + weights.bias_hh
    ours, explicit = ForwardOnly(cell.equations), cell.equations
    step, exact_step = (e.step(projected, recurrent, previous, weights) for e in (ours, explicit))
    emitted_grad = torch.randn(5, 2, 4, dtype=torch.float64)
    cell_grad = torch.randn(5, 2, 4, dtype=torch.float64) if cell.equations.has_cell else None
    found = ours.adjoint(step, previous, emitted_grad, cell_grad, weights)
    exact = explicit.adjoint(exact_step, previous, emitted_grad, cell_grad, weights)
    for name, value in exact._asdict().items():
        if value is not None:
            torch.testing.assert_close(getattr(found, name), value, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        ours.jacobian(step, previous, weights), explicit.jacobian(exact_step, previous, weights), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{type(cell).__name__}-{cell.proj_size}")
@pytest.mark.parametrize("several", [(), (5,)])
def test_an_adjoint_differentiated_again_is_the_explicit_one(cell: LSTMCell, several: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weights = cell.weights.to(torch.float64).map(lambda value: value.requires_grad_())
    inputs = torch.randn(2, len(weights.weight_hh), dtype=torch.float64).requires_grad_()
    hidden = torch.randn(2, weights.weight_hh.shape[1], dtype=torch.float64).requires_grad_()
    memory = torch.randn(2, 4, dtype=torch.float64).requires_grad_() if cell.equations.has_cell else None
    emitted_grad = torch.randn(*several, 2, 4, dtype=torch.float64).requires_grad_()
    cell_grad = torch.randn(*several, 2, 4, dtype=torch.float64).requires_grad_() if cell.equations.has_cell else None
    leaves = [inputs, hidden, memory, emitted_grad, cell_grad, *weights.present().values()]
    found = []
    for equations in (cell.equations, ForwardOnly(cell.equations)):
        recurrent = hidden @ weights.weight_hh.T + weights.bias_hh  # a state that also enters past the product
        previous = State(hidden, memory)
        step = equations.step(inputs, recurrent, previous, weights)
        adjoint = equations.adjoint(step, previous, emitted_grad, cell_grad, weights)
        torch.manual_seed(1)
        results = [adjoint.projected_grad, adjoint.recurrent_grad @ weights.weight_hh]
        results += [part for part in (adjoint.cell_grad, adjoint.previous_cell_grad) if part is not None]
        if adjoint.previous_hidden_grad is not None:
            results[1] = results[1] + adjoint.previous_hidden_grad
        loss = torch.stack([(torch.randn_like(result) * result).sum() for result in results]).sum()
        loss = loss + equations.jacobian(step, previous, weights).pow(2).sum()
        wanted = [leaf for leaf in leaves if leaf is not None]
        found.append(torch.autograd.grad(loss, wanted, allow_unused=True))
    for explicit, ours in zip(*found, strict=True):
        assert (explicit is None or not explicit.any()) == (ours is None or not ours.any())
        if explicit is not None and ours is not None:
            torch.testing.assert_close(ours, explicit, rtol=1e-12, atol=1e-12)


def test_a_penalty_on_lyapunov_exponents_has_the_gradient_of_the_explicit_cell() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(12, 2, 3, dtype=torch.float64)
    found = []
    for equations in (GRUEquations(), ForwardOnly(GRUEquations())):
        torch.manual_seed(1)
        layer = Recurrent(equations, 3, 4, dtype=torch.float64)
        loss = lyapunov_penalty(layer, inputs, k=2)
        found.append([loss, *torch.autograd.grad(loss, list(layer.parameters()), allow_unused=True)])
    for explicit, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, explicit, rtol=1e-10, atol=1e-12)
