"""The plain recurrence h_t = φ(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), its adjoint and its Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple, final

import torch
from torch import Tensor, nn

from rnn_diag.arguments import one_of
from rnn_diag.cells.cell import RecurrentCell
from rnn_diag.cells.derivatives import scaled_rows
from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.gate import Gate
from rnn_diag.cells.weights import Weights


class Nonlinearity(NamedTuple):
    """φ, its derivative as a function of φ's own value, and its range."""

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    low: float
    high: float


NONLINEARITIES: dict[str, Nonlinearity] = {
    "tanh": Nonlinearity(torch.tanh, lambda h: 1 - h * h, -1.0, 1.0),
    "relu": Nonlinearity(torch.relu, lambda h: (h > 0).to(h.dtype), 0.0, float("inf")),
    "sigmoid": Nonlinearity(torch.sigmoid, lambda h: h * (1 - h), 0.0, 1.0),
    "identity": Nonlinearity(lambda z: z, torch.ones_like, float("-inf"), float("inf")),
}


@final
class RNNEquations(Equations):
    """`h_t = φ(z_t)`. One row block, `hidden`, and no gates."""

    name: ClassVar[str] = "rnn"

    def __init__(self, nonlinearity: str = "tanh") -> None:
        one_of("nonlinearity", nonlinearity, NONLINEARITIES)
        self.nonlinearity = nonlinearity
        self._phi = NONLINEARITIES[nonlinearity]
        self.blocks = (Gate("hidden", self._phi.low, self._phi.high),)
        self.hidden_is_bounded = self.blocks[0].is_bounded
        self.fused = partial(nn.RNN, nonlinearity=nonlinearity) if nonlinearity in ("tanh", "relu") else None

    def __reduce__(self) -> tuple[Any, ...]:
        return RNNEquations, (self.nonlinearity,)

    @property
    def gates(self) -> tuple[Gate, ...]:
        """None: nothing is gated."""
        return ()

    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return `h = φ(z)`."""
        z = projected + recurrent
        h = self._phi.function(z)
        return Step(h, None, (), (z,))

    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return `δ_t = δ^h_t ⊙ φ'(z_t)`."""
        delta = emitted_grad * self._phi.slope(step.emitted)
        return StepAdjoint(delta, delta)

    def jacobian(self, step: Step, previous: State, weights: Weights) -> Tensor:
        """Return `diag(φ'(z_t)) W_hh`."""
        return scaled_rows(self._phi.slope(step.emitted), weights.weight_hh)


class RNNCell(RecurrentCell):
    """One step of a plain RNN: `torch.nn.RNNCell`, with `nonlinearity` one of tanh, relu, sigmoid, identity.

    Shape:
        `cell(input [B, I] or [I], hidden [B, H] or [H] or None) -> hidden`.

    Raises:
        ValueError: If the nonlinearity is none of the four.

    Example:
        >>> cell = RNNCell(1, 1, bias=False, nonlinearity="identity").requires_grad_(False)
        >>> _ = cell.weight_ih.fill_(1), cell.weight_hh.fill_(0.5)
        >>> cell(torch.ones(1), torch.tensor([4.0])).item()  # 1·1 + 0.5·4
        3.0

    Reference:
        Elman 1990, https://doi.org/10.1207/s15516709cog1402_1
    """

    equations: RNNEquations

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(RNNEquations(nonlinearity), input_size, hidden_size, bias, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity
