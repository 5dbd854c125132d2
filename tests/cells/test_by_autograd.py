"""Equations with a forward step only give what explicit ones give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnn_diag.cells import (
    AutogradEquations,
    Equations,
    GRUCell,
    LSTMCell,
    PeepholeLSTMCell,
    RNNCell,
    State,
    Step,
    Weights,
)


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
