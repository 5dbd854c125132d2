"""Recurrences whose gradients and memories are known exactly: each problem carries its answer."""

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
        equations, weights, initial: The recurrence.
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
        units = len(self.loss_grad)
        grads = torch.zeros(self.steps, 1, units, dtype=torch.float64)
        grads[-1] = self.loss_grad
        return Trace(
            "l0",
            self.equations,
            self.weights,
            inputs=torch.zeros(self.steps, 1, 1, dtype=torch.float64),
            initial=State(*(part.unsqueeze(0) for part in self.initial if part is not None)),
            output_grads=OutputGrads(grads, State(None, None)),  # type: ignore[arg-type]
        )


def linear(matrix: list[list[float]], initial: list[float], loss_grad: list[float], steps: int) -> Problem:
    """`h_t = W h_{t-1}`: the states are `W^{t+1} h`, the gradients `(W^T)^{T-1-t} g`."""
    w, h, g = (torch.tensor(value, dtype=torch.float64) for value in (matrix, initial, loss_grad))
    powers = [torch.linalg.matrix_power(w, t) for t in range(steps + 1)]
    return Problem(
        RNNEquations("identity"),
        Weights(torch.zeros(len(h), 1, dtype=torch.float64), w),
        State(h),
        steps,
        g,
        hidden=torch.stack([power @ h for power in powers[1:]]),
        hidden_grad_norms=torch.stack([(power.T @ g).norm() for power in reversed(powers[:-1])]),
        jacobian=w,
    )


def scalar_linear(w: float = 0.5, steps: int = 10) -> Problem:
    """`h_t = w h_{t-1}`: the gradient at step t is `w^{T-1-t}`."""
    return linear([[w]], [1.0], [1.0], steps)


def rotation(degrees: float = 30.0, steps: int = 12) -> Problem:
    """A rotation of the plane: every norm stays 1, forwards and backwards; twelve turns of 30° come back."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return linear([[c, -s], [s, c]], [1.0, 0.0], [0.6, 0.8], steps)


def non_normal(steps: int = 10) -> Problem:
    """`W = [[.9, 1], [0, .9]]`: all eigenvalues below 1, yet the gradient of the first unit has grown to 3.893528
    nine steps back: its components are `.9^9` and `9 · .9^8`."""
    return linear([[0.9, 1.0], [0.0, 0.9]], [0.0, 1.0], [1.0, 0.0], steps)


def lstm_gates(i: float, f: float, o: float, candidate: float = 0.0, steps: int = 10, cell: float = 1.0) -> Problem:
    """An LSTM without weights whose gates are constant: `c_t = f c_{t-1} + i tanh(candidate)`."""
    bias = torch.tensor([_logit(i), _logit(f), candidate, _logit(o)], dtype=torch.float64)
    none = torch.zeros(4, 1, dtype=torch.float64)
    cells = [cell]
    for _ in range(steps):
        cells.append(f * cells[-1] + i * math.tanh(candidate))
    memory = torch.tensor(cells[1:], dtype=torch.float64)
    slope = o * (1 - math.tanh(cells[-1]) ** 2)
    return Problem(
        LSTMEquations(),
        Weights(none, none, bias, torch.zeros_like(bias)),
        State(torch.zeros(1, dtype=torch.float64), torch.tensor([cell], dtype=torch.float64)),
        steps,
        torch.ones(1, dtype=torch.float64),
        hidden=(o * memory.tanh()).unsqueeze(1),
        cell=memory.unsqueeze(1),
        cell_grad=torch.tensor([[slope * f ** (steps - 1 - t)] for t in range(steps)], dtype=torch.float64),
        hidden_grad_norms=torch.tensor([0.0] * (steps - 1) + [1.0], dtype=torch.float64),
    )


def forget_only_lstm(f: float = 0.98, steps: int = 100) -> Problem:
    """Nothing is written, all is shown: the memory after k steps, and the gradient k steps back, is `0.98^k`."""
    return lstm_gates(i=0.0, f=f, o=1.0, steps=steps)


def latch(steps: int = 50) -> Problem:
    """The forget gate wide open and the input gate shut: the memory never changes, nor does its gradient."""
    return lstm_gates(i=0.0, f=1.0, o=1.0, steps=steps)


def shut_lstm(steps: int = 5) -> Problem:
    """The output gate shut: nothing is seen and no gradient comes in."""
    return lstm_gates(i=1.0, f=1.0, o=0.0, candidate=0.5, steps=steps)


def gru_at_rest(units: int = 3, steps: int = 4) -> Problem:
    """A GRU at zero state with half-open gates: its Jacobian is `I/2 + W_hn/4`, at every step."""
    torch.manual_seed(7)
    w_n = torch.randn(units, units, dtype=torch.float64)
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


def _logit(p: float) -> float:
    return {0.0: -WIDE_OPEN, 1.0: WIDE_OPEN}.get(p) or math.log(p / (1 - p))
