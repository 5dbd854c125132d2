"""The independently recurrent network: every unit sees only itself, through one weight."""

from __future__ import annotations

from typing import Any, ClassVar, final

import torch
from torch import Tensor

from rnn_diag.arguments import one_of
from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.gate import Gate
from rnn_diag.cells.product import Diagonal, Product
from rnn_diag.cells.rnn import NONLINEARITIES
from rnn_diag.cells.weights import Weights


@final
class IndRNNEquations(Equations):
    r"""A plain recurrence whose recurrent matrix is a diagonal.

    .. math:: h_t = φ(W x_t + u ⊙ h_{t-1} + b)

    Over `n` steps in which a ReLU unit is on, its gradient is multiplied by :math:`u^n` exactly. `weight_hh` is
    `u [H]`, and starts from U(0, 1): from units that forget at once to units that keep.

    Args:
        nonlinearity: `relu`, `tanh`, `sigmoid` or `identity`.

    Raises:
        ValueError: If the nonlinearity is none of them.

    Example:
        >>> from rnn_diag.nn import Recurrent
        >>> Recurrent(IndRNNEquations, 3, 5).weight_hh_l0.shape
        torch.Size([5])

    Reference:
        Li, Li, Cook, Zhu, Gao 2018, https://arxiv.org/abs/1803.04831
    """

    name: ClassVar[str] = "indrnn"
    recurrent_product: Product = Diagonal()

    def __init__(self, nonlinearity: str = "relu") -> None:
        one_of("nonlinearity", nonlinearity, NONLINEARITIES)
        self.nonlinearity = nonlinearity
        self._phi = NONLINEARITIES[nonlinearity]
        self.blocks = (Gate("hidden", self._phi.low, self._phi.high),)
        self.hidden_is_bounded = self.blocks[0].is_bounded

    def __reduce__(self) -> tuple[Any, ...]:
        return IndRNNEquations, (self.nonlinearity,)

    @property
    def gates(self) -> tuple[Gate, ...]:
        """None: nothing is gated."""
        return ()

    @torch.no_grad()
    def initialise(self, weights: Weights) -> None:
        """Draw the recurrent weights from U(0, 1)."""
        weights.weight_hh.uniform_(0.0, 1.0)

    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return `h = φ(z)`."""
        z = projected + recurrent
        return Step(self._phi.function(z), None, (), (z,))

    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return `δ_t = δ^h_t ⊙ φ'(z_t)`."""
        delta = emitted_grad * self._phi.slope(step.emitted)
        return StepAdjoint(delta, delta)

    def jacobian(self, step: Step, previous: State, weights: Weights) -> Tensor:
        """Return `diag(φ'(z_t) ⊙ u)`."""
        return torch.diag_embed(self._phi.slope(step.emitted) * weights.weight_hh)
