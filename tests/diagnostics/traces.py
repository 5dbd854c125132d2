"""Traces of random layers beside the same network unrolled under autograd, for tests of measures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rnn_diag.cells import (
    Equations,
    GRUEquations,
    LSTMEquations,
    PeepholeLSTMEquations,
    RNNEquations,
    State,
    Weights,
)
from rnn_diag.engine.unroll import back_to_front
from rnn_diag.trace import OutputGrads, Trace

CELLS: dict[str, Callable[[], Equations]] = {
    "rnn": RNNEquations,
    "gru": GRUEquations,
    "lstm": LSTMEquations,
    "peephole_lstm": PeepholeLSTMEquations,
    "projected_lstm": LSTMEquations,
}


def random_weights(cell: str, features: int, units: int, scale: float = 0.5) -> Weights:
    rows = units * len(CELLS[cell]().blocks)
    projected = units - 1 if cell == "projected_lstm" else units

    def draw(*shape: int) -> Tensor:
        return scale * torch.randn(*shape, dtype=torch.float64)

    peepholes = {name: draw(units) for name in ("weight_ci", "weight_cf", "weight_co")}
    return Weights(
        draw(rows, features),
        draw(rows, projected),
        draw(rows),
        draw(rows),
        weight_hr=draw(projected, units) if cell == "projected_lstm" else None,
        extra=peepholes if cell == "peephole_lstm" else {},
    )


def mask_of(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths)).unsqueeze(1) < torch.tensor(lengths)


def random_trace(
    cell: str,
    lengths: list[int],
    features: int = 2,
    units: int = 3,
    reverse: bool = False,
    grads: Callable[[Tensor], Tensor] | None = torch.randn_like,
    weights: Weights | None = None,
    final_cell_grad: bool = False,
) -> Trace:
    """A layer of float64 numbers; `grads` makes the direct gradients from a tensor of the outputs' shape."""
    equations = CELLS[cell]()
    weights = weights or random_weights(cell, features, units)
    steps, batch = max(lengths), len(lengths)
    initial_hidden = torch.randn(batch, weights.weight_hh.shape[1], dtype=torch.float64)
    initial_cell = torch.randn(batch, units, dtype=torch.float64) if equations.has_cell else None
    output_grads = None
    mask = mask_of(lengths)
    if grads is not None:
        hidden = grads(torch.zeros(steps, *initial_hidden.shape, dtype=torch.float64)) * mask.unsqueeze(-1)
        final = State(None, torch.randn(batch, units, dtype=torch.float64) if final_cell_grad else None)
        output_grads = OutputGrads(hidden, final)
    return Trace(
        "l0",
        equations,
        weights,
        torch.randn(steps, batch, features, dtype=torch.float64),
        State(initial_hidden, initial_cell),
        mask,
        output_grads=output_grads,
        reverse=reverse,
    )


def autograd_states(trace: Trace, sequence: int) -> tuple[list[Tensor], list[Tensor]]:
    """Unroll one sequence under autograd: a slow loop; states in the order of reading, each a leaf of what follows."""
    weights, equations = trace.weights, trace.equations
    length = int(trace.lengths[sequence])
    inputs = back_to_front(trace.inputs, trace.mask) if trace.reverse else trace.inputs
    hidden = trace.initial_hidden[sequence].clone().requires_grad_()
    cell = None if trace.initial_cell is None else trace.initial_cell[sequence].clone().requires_grad_()
    hiddens, cells = [hidden], [] if cell is None else [cell]
    for t in range(length):
        projected = inputs[t, sequence] @ weights.weight_ih.T + weights.bias_ih
        step = equations.step(projected, hidden @ weights.weight_hh.T + weights.bias_hh, State(hidden, cell), weights)
        hidden = step.emitted if weights.weight_hr is None else step.emitted @ weights.weight_hr.T
        cell = step.cell
        hiddens.append(hidden)
        if cell is not None:
            cells.append(cell)
    return hiddens, cells
