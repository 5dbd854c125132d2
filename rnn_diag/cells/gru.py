"""The GRU's recurrence in torch's form, its adjoint and its Jacobian; gates in order: reset, update, candidate."""

from __future__ import annotations

from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from rnn_diag.cells.cell import RecurrentCell
from rnn_diag.cells.derivatives import scaled_rows, through_sigmoid, through_tanh
from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.gate import Gate, Role
from rnn_diag.cells.weights import Weights


@final
class GRUEquations(Equations):
    r"""The GRU as torch and cuDNN compute it: the reset gate acts after the recurrent product.

    .. math::
        r = σ(z_r),\; z = σ(z_z),\; n = \tanh(W_n x + b_{in} + r ⊙ u),\; u = U_n h_{t-1} + b_{hn}, \qquad
        h_t = (1 - z) ⊙ n + z ⊙ h_{t-1}

    A *large* update gate z remembers.
    """

    name: ClassVar[str] = "gru"
    blocks = (
        Gate("reset", 0.0, 1.0, Role.RESETS),
        Gate("update", 0.0, 1.0, Role.KEEPS_OR_WRITES),
        Gate("candidate", -1.0, 1.0, Role.CANDIDATE),
    )
    hidden_is_bounded = True
    fused = nn.GRU

    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the gates and the new hidden state."""
        x_r, x_z, x_n = projected.chunk(3, dim=-1)
        u_r, u_z, u = recurrent.chunk(3, dim=-1)
        z_r, z_z = x_r + u_r, x_z + u_z
        r, z = z_r.sigmoid(), z_z.sigmoid()
        z_n = x_n + r * u
        n = z_n.tanh()
        return Step((1 - z) * n + z * previous.hidden, None, (r, z, n), (z_r, z_z, z_n), (u,))

    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return the pre-activation gradients; the recurrent product of `n` gets `δ^n ⊙ r`; `z ⊙ δ^h` goes past it."""
        r, z, n = step.gates
        (u,) = step.kept
        d_z = through_sigmoid(emitted_grad * (previous.hidden - n), z)
        d_n = through_tanh(emitted_grad * (1 - z), n)
        d_r = through_sigmoid(d_n * u, r)
        projected_grad = torch.cat((d_r, d_z, d_n), dim=-1)
        recurrent_grad = torch.cat((d_r, d_z, d_n * r), dim=-1)
        return StepAdjoint(projected_grad, recurrent_grad, previous_hidden_grad=emitted_grad * z)

    def jacobian(self, step: Step, previous: State, weights: Weights) -> Tensor:
        """Return `diag(z) + ∂h/∂n ∂n/∂h + ∂h/∂z ∂z/∂h`; at zero state and gates half open this is `I/2 + U_n/4`."""
        r, z, n = step.gates
        (u,) = step.kept
        w_r, w_z, w_n = weights.weight_hh.chunk(3)
        h_by_n = (1 - z) * (1 - n * n)
        return (
            torch.diag_embed(z)
            + scaled_rows((previous.hidden - n) * z * (1 - z), w_z)
            + scaled_rows(h_by_n * r, w_n)
            + scaled_rows(h_by_n * u * r * (1 - r), w_r)
        )


class GRUCell(RecurrentCell):
    """One step of a GRU: `torch.nn.GRUCell`.

    Shape:
        `cell(input [B, I] or [I], hidden [B, H] or [H] or None) -> hidden`.

    Example:
        >>> cell = GRUCell(1, 1)
        >>> _ = [parameter.data.zero_() for parameter in cell.parameters()]
        >>> cell(torch.ones(1), torch.ones(1)).item()  # z = 1/2 keeps half of the old state
        0.5

    Reference:
        Cho et al. 2014, https://arxiv.org/abs/1406.1078; the form with the reset gate after the product:
        https://docs.pytorch.org/docs/stable/generated/torch.nn.GRU.html
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(GRUEquations(), input_size, hidden_size, bias, device=device, dtype=dtype)
