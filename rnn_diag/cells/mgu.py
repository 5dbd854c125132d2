"""The minimal gated unit: one gate that writes what it wipes; blocks in order: forget, candidate."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor

from rnn_diag.cells.derivatives import scaled_rows, through_sigmoid, through_tanh
from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.gate import Gate, Role
from rnn_diag.cells.weights import Weights


@final
class MGUEquations(Equations):
    r"""The minimal gated unit, its gate acting after the recurrent product as in torch's GRU.

    .. math::
        f = σ(z_f),\; n = \tanh(W_n x + b_{in} + f ⊙ u),\; u = U_n h_{t-1} + b_{hn}, \qquad
        h_t = (1 - f) ⊙ h_{t-1} + f ⊙ n

    A *large* `f` forgets.

    Example:
        >>> from rnn_diag.nn import Recurrent
        >>> Recurrent(MGUEquations, 3, 5)(torch.zeros(7, 2, 3))[0].shape
        torch.Size([7, 2, 5])

    Reference:
        Zhou, Wu, Zhang, Zhou 2016, https://arxiv.org/abs/1603.09420
    """

    name: ClassVar[str] = "mgu"
    blocks = (Gate("forget", 0.0, 1.0, Role.WRITES_OR_KEEPS), Gate("candidate", -1.0, 1.0, Role.CANDIDATE))
    hidden_is_bounded = True

    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the gate, the candidate and the new hidden state."""
        x_f, x_n = projected.chunk(2, dim=-1)
        u_f, u = recurrent.chunk(2, dim=-1)
        z_f = x_f + u_f
        f = z_f.sigmoid()
        z_n = x_n + f * u
        n = z_n.tanh()
        return Step((1 - f) * previous.hidden + f * n, None, (f, n), (z_f, z_n), (u,))

    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return the pre-activation gradients; the recurrent product of `n` gets `δ^n ⊙ f`."""
        f, n = step.gates
        (u,) = step.kept
        d_n = through_tanh(emitted_grad * f, n)
        d_f = through_sigmoid(emitted_grad * (n - previous.hidden) + d_n * u, f)
        projected_grad, recurrent_grad = torch.cat((d_f, d_n), dim=-1), torch.cat((d_f, d_n * f), dim=-1)
        return StepAdjoint(projected_grad, recurrent_grad, previous_hidden_grad=emitted_grad * (1 - f))

    def jacobian(self, step: Step, previous: State, weights: Weights) -> Tensor:
        """Return `diag(1 - f) + ∂h/∂n ∂n/∂h + ∂h/∂f ∂f/∂h`."""
        f, n = step.gates
        (u,) = step.kept
        w_f, w_n = weights.weight_hh.chunk(2)
        h_by_n = f * (1 - n * n)
        h_by_f = n - previous.hidden + h_by_n * u
        return torch.diag_embed(1 - f) + scaled_rows(h_by_n * f, w_n) + scaled_rows(h_by_f * f * (1 - f), w_f)
