"""Recurrences whose states, gradients and Jacobians are known exactly: each problem carries its answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rnn_diag.cells import Equations, GRUEquations, LSTMEquations, RNNEquations, State, Weights
from rnn_diag.trace import OutputGrads, Trace

WIDE_OPEN = 800.0
"""A pre-activation whose sigmoid is 1 in float64, and whose negative's is 0."""


@dataclass(frozen=True)
class Problem:
    """A recurrence without input, from a given state, with a loss on its last hidden state alone.

    Attributes:
        equations, weights, initial: The recurrence; states without a batch.
        steps: How long it runs.
        loss_grad: `[H]` gradient of the loss with respect to the last hidden state.
        hidden: `[T, H]` every hidden state, exactly, or None where it is not the point.
        cell: `[T, H]` every memory, exactly, or None.
        hidden_grad_norms: `[T]` norms of the total gradient, exactly, or None.
        cell_grad: `[T, H]` total gradient of the memory, exactly, or None.
        jacobian: `[S, S]` of the full state at step 0, exactly, or None.
    """

    equations: Equations
    weights: Weights
    initial: State
    steps: int
    loss_grad: Tensor
    hidden: Tensor | None = None
    cell: Tensor | None = None
    hidden_grad_norms: Tensor | None = None
    cell_grad: Tensor | None = None
    jacobian: Tensor | None = None

    @property
    def trace(self) -> Trace:
        """What one sequence goes through."""
        return self.trace_of(1)

    def trace_of(self, batch: int) -> Trace:
        """Return what several sequences go through, all alike."""
        grads = torch.zeros(self.steps, batch, len(self.loss_grad), dtype=torch.float64)
        grads[-1] = self.loss_grad
        return Trace.of(
            "l0",
            self.equations,
            self.weights,
            inputs=torch.zeros(self.steps, batch, self.weights.weight_ih.shape[1], dtype=torch.float64),
            initial=State(*(part.expand(batch, -1).clone() for part in self.initial if part is not None)),
            output_grads=OutputGrads(grads, State(None, None)),  # type: ignore[arg-type]
        )


def linear(matrix: list[list[float]] | Tensor, initial: list[float], loss_grad: list[float], steps: int) -> Problem:
    r"""Return `h_t = W h_{t-1} + x_t`: the states are :math:`W^{t+1} h`, the gradients :math:`(W^T)^{T-1-t} g`."""
    w, h, g = (torch.as_tensor(value, dtype=torch.float64) for value in (matrix, initial, loss_grad))
    powers = [torch.linalg.matrix_power(w, t) for t in range(steps + 1)]
    return Problem(
        RNNEquations("identity"),
        Weights(torch.eye(len(h), dtype=torch.float64), w),
        State(h),
        steps,
        g,
        hidden=torch.stack([power @ h for power in powers[1:]]),
        hidden_grad_norms=torch.stack([(power.T @ g).norm() for power in reversed(powers[:-1])]),
        jacobian=w,
    )


def scalar_linear(w: float = 0.5, steps: int = 10) -> Problem:
    """Return `h_t = w h_{t-1}`: the gradient at step t is `w^(T-1-t)`."""
    return linear([[w]], [1.0], [1.0], steps)


def rotation(degrees: float = 30.0, steps: int = 12) -> Problem:
    """Return a rotation of the plane: every norm stays 1, forwards and backwards; twelve turns of 30° come back."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return linear([[c, -s], [s, c]], [1.0, 0.0], [0.6, 0.8], steps)


def non_normal(steps: int = 10) -> Problem:
    """Return `W = [[.9, 1], [0, .9]]`, whose eigenvalues are below 1 and whose gradients grow.

    That of the first unit has grown to 3.893528 nine steps back: its components are `.9^9` and `9 · .9^8`.
    """
    return linear([[0.9, 1.0], [0.0, 0.9]], [0.0, 1.0], [1.0, 0.0], steps)


def lstm_gates(
    i: float, f: float, o: float, candidate: float = 0.0, steps: int = 10, cell: float = 1.0, units: int = 1
) -> Problem:
    """Return an LSTM without weights whose gates are constant: `c_t = f c_{t-1} + i tanh(candidate)`."""
    bias = torch.tensor([_logit(i), _logit(f), candidate, _logit(o)], dtype=torch.float64).repeat_interleave(units)
    none = torch.zeros(4 * units, units, dtype=torch.float64)
    cells = [cell]
    for _ in range(steps):
        cells.append(f * cells[-1] + i * math.tanh(candidate))
    memory = torch.tensor(cells[1:], dtype=torch.float64).unsqueeze(1).expand(-1, units)
    slope = o * (1 - math.tanh(cells[-1]) ** 2)
    cell_grad = torch.tensor([[slope * f ** (steps - 1 - t)] for t in range(steps)], dtype=torch.float64)
    return Problem(
        LSTMEquations(),
        Weights(none, none, bias, torch.zeros_like(bias)),
        State(torch.zeros(units, dtype=torch.float64), torch.full((units,), cell, dtype=torch.float64)),
        steps,
        torch.ones(units, dtype=torch.float64),
        hidden=o * memory.tanh(),
        cell=memory,
        cell_grad=cell_grad.expand(-1, units),
        hidden_grad_norms=torch.tensor([0.0] * (steps - 1) + [math.sqrt(units)], dtype=torch.float64),
    )


def forget_only_lstm(f: float = 0.98, steps: int = 100, units: int = 1) -> Problem:
    """Return an LSTM that writes nothing and shows all: its memory after k steps, and the gradient, are `f^k`."""
    return lstm_gates(i=0.0, f=f, o=1.0, steps=steps, units=units)


def latch(steps: int = 50) -> Problem:
    """Return an LSTM with the forget gate wide open and the input gate shut: the memory and its gradient stay."""
    return lstm_gates(i=0.0, f=1.0, o=1.0, steps=steps)


def shut_lstm(steps: int = 5) -> Problem:
    """Return an LSTM with the output gate shut: nothing is seen and no gradient comes in."""
    return lstm_gates(i=1.0, f=1.0, o=0.0, candidate=0.5, steps=steps)


def gru_at_rest(units: int = 3, steps: int = 4) -> Problem:
    """Return a GRU at zero state with half-open gates: its Jacobian is `I/2 + W_hn/4`, at every step."""
    w_n = torch.randn(units, units, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    weight_hh = torch.cat((torch.zeros(2 * units, units, dtype=torch.float64), w_n))
    jacobian = torch.eye(units, dtype=torch.float64) / 2 + w_n / 4
    g = torch.ones(units, dtype=torch.float64)
    powers = [torch.linalg.matrix_power(jacobian.T, t) for t in range(steps)]
    return Problem(
        GRUEquations(),
        Weights(torch.zeros(3 * units, 1, dtype=torch.float64), weight_hh),
        State(torch.zeros(units, dtype=torch.float64)),
        steps,
        g,
        hidden=torch.zeros(steps, units, dtype=torch.float64),
        hidden_grad_norms=torch.stack([(power @ g).norm() for power in reversed(powers)]),
        jacobian=jacobian,
    )


ALL = {
    problem.__name__: problem
    for problem in (scalar_linear, rotation, non_normal, forget_only_lstm, latch, shut_lstm, gru_at_rest)
}


def linear_trace(matrix: float | list[list[float]] | Tensor, steps: int, batch: int = 1) -> Trace:
    r"""Return what :math:`h_t = W h_{t-1} + x_t` goes through from :math:`h = 1` without input.

    The loss is :math:`L = \sum_j h_{T-1, j}`, so that :math:`∂L/∂h_t = (W^T)^{T-1-t}\, 1`.

    Example:
        >>> linear_trace(0.5, steps=3).hidden_grad.flatten().tolist()
        [0.25, 0.5, 1.0]
    """
    weight = torch.as_tensor(matrix, dtype=torch.float64)
    weight = weight.view(1, 1) if weight.dim() == 0 else weight
    ones = [1.0] * len(weight)
    return linear(weight, ones, ones, steps).trace_of(batch)


def forgetting_trace(forget: float, steps: int, units: int = 1, batch: int = 1) -> Trace:
    r"""Return what `forget_only_lstm` goes through: from :math:`c = 1` it holds :math:`c_t = f^{t+1}`.

    The loss is :math:`L = \sum_j h_{T-1, j}`.

    Example:
        >>> forgetting_trace(0.5, steps=3).cell.flatten().tolist()
        [0.5, 0.25, 0.125]
    """
    return forget_only_lstm(forget, steps, units).trace_of(batch)


def _logit(p: float) -> float:
    return {0.0: -WIDE_OPEN, 1.0: WIDE_OPEN}.get(p) or math.log(p / (1 - p))
