"""The minimal LSTM: input and forget gate from the input alone, which share out one whole."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rnn_diag.cells.derivatives import positive, through_positive
from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.gate import Gate, Role
from rnn_diag.cells.product import Nothing, Product
from rnn_diag.cells.weights import Weights


@final
class MinLSTMEquations(Equations):
    r"""An LSTM without an output gate whose gates and candidate do not see the state.

    .. math::
        f = \frac{σ(z_f)}{σ(z_f) + σ(z_i)},\; i = 1 - f,\; g = g(z_g), \qquad h_t = f ⊙ h_{t-1} + i ⊙ g

    with the positive candidate of the minimal GRU. The gates shown are the shares `f` and `i`.

    Example:
        >>> from rnn_diag.nn import Recurrent
        >>> Recurrent(MinLSTMEquations, 3, 5)(torch.zeros(7, 2, 3))[0].shape
        torch.Size([7, 2, 5])

    Reference:
        Feng, Tung, Ahmed, Bengio, Hajimirsadeghi 2024, https://arxiv.org/abs/2410.01201
    """

    name: ClassVar[str] = "min_lstm"
    blocks = (
        Gate("input", 0.0, 1.0, Role.WRITES),
        Gate("forget", 0.0, 1.0, Role.KEEPS),
        Gate("candidate", 0.0, float("inf"), Role.CANDIDATE),
    )
    recurrent_product: Product = Nothing()

    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the shares, the candidate and the new hidden state."""
        z_i, z_f, z_g = (projected + recurrent).chunk(3, dim=-1)
        odds = logsigmoid(z_f) - logsigmoid(z_i)
        f, i, g = odds.sigmoid(), (-odds).sigmoid(), positive(z_g)
        slopes = (-z_i).sigmoid(), (-z_f).sigmoid()
        return Step(f * previous.hidden + i * g, None, (i, f, g), (z_i, z_f, z_g), slopes)

    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return the pre-activation gradients, those of both gates through the odds of `f` against `i`."""
        (i, f, g), (slope_i, slope_f) = step.gates, step.kept
        d_odds = emitted_grad * (previous.hidden - g) * f * i
        d_i, d_f = -d_odds * slope_i, d_odds * slope_f
        delta = torch.cat((d_i, d_f, through_positive(emitted_grad * i, g)), dim=-1)
        return StepAdjoint(delta, delta, previous_hidden_grad=emitted_grad * f)

    def scanned(self, projected: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        """Return `f` and `i ⊙ g`."""
        z_i, z_f, z_g = (projected + (0.0 if weights.bias_hh is None else weights.bias_hh)).chunk(3, dim=-1)
        odds = logsigmoid(z_f) - logsigmoid(z_i)
        return odds.sigmoid(), (-odds).sigmoid() * positive(z_g)

    def jacobian(self, step: Step, previous: State, weights: Weights) -> Tensor:
        """Return `diag(f)`."""
        return torch.diag_embed(step.gates[1])

    def log_kept(self, step: Step, previous: State, weights: Weights) -> Tensor:
        """Return the log of `f`, from the pre-activations."""
        z_i, z_f, _ = step.preactivations
        return logsigmoid(logsigmoid(z_f) - logsigmoid(z_i))
