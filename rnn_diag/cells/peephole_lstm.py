"""The peephole LSTM: the raw memory is input to the gates too; the output gate sees the new memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from rnn_diag.cells.cell import RecurrentCell
from rnn_diag.cells.derivatives import joined_state_jacobian, scaled_rows, through_sigmoid, through_tanh
from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.gate import Gate, Role
from rnn_diag.cells.weights import Weights

PEEPHOLES = ("weight_ci", "weight_cf", "weight_co")
"""One weight `[H]` for each gate that sees the memory."""


@final
class PeepholeLSTMEquations(Equations):
    r"""The LSTM whose gates see the memory through one weight per unit.

    .. math::
        i = σ(z_i + p_i ⊙ c_{t-1}),\; f = σ(z_f + p_f ⊙ c_{t-1}),\; g = \tanh(z_g),\;
        c_t = f ⊙ c_{t-1} + i ⊙ g,\; o = σ(z_o + p_o ⊙ c_t),\; h_t = o ⊙ \tanh(c_t)

    Its backward pass, with :math:`δ^h_t = ∂L/∂h_t` the total gradient:

    .. math::
        δ^o_t &= δ^h_t ⊙ \tanh(c_t) ⊙ o(1-o) \\
        δ^c_t &= δ^h_t ⊙ o ⊙ (1 - \tanh^2 c_t) + p_o ⊙ δ^o_t
                 + f_{t+1} ⊙ δ^c_{t+1} + p_i ⊙ δ^i_{t+1} + p_f ⊙ δ^f_{t+1} \\
        δ^i_t &= δ^c_t ⊙ g ⊙ i(1-i), \quad δ^f_t = δ^c_t ⊙ c_{t-1} ⊙ f(1-f), \quad δ^g_t = δ^c_t ⊙ i ⊙ (1-g^2) \\
        δ^h_{t-1} &= \text{direct part} + W_{hh}^T [δ^i; δ^f; δ^g; δ^o]_t

    and the weights, once for all steps: :math:`∂L/∂W_{hh} = Σ δ_t h_{t-1}^T`, :math:`∂L/∂W_{ih} = Σ δ_t x_t^T`,
    biases :math:`Σ δ_t`, :math:`∂L/∂p_i = Σ δ^i_t ⊙ c_{t-1}`, :math:`∂L/∂p_f = Σ δ^f_t ⊙ c_{t-1}`,
    :math:`∂L/∂p_o = Σ δ^o_t ⊙ c_t`.
    """

    name: ClassVar[str] = "peephole_lstm"
    blocks = (
        Gate("input", 0.0, 1.0, Role.WRITES),
        Gate("forget", 0.0, 1.0, Role.KEEPS),
        Gate("candidate", -1.0, 1.0, Role.CANDIDATE),
        Gate("output", 0.0, 1.0, Role.SHOWS),
    )
    has_cell: ClassVar[bool] = True
    extra_parameters: ClassVar[Mapping[str, tuple[str, ...]]] = dict.fromkeys(PEEPHOLES, ("hidden",))
    hidden_is_bounded = True

    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the gates, the new memory and the new hidden state."""
        c_before, (p_i, p_f, p_o) = previous.cell, _peepholes(weights)
        assert c_before is not None
        z_i, z_f, z_g, z_o = (projected + recurrent).chunk(4, dim=-1)
        z_i = z_i + p_i * c_before
        z_f = z_f + p_f * c_before
        i, f, g = z_i.sigmoid(), z_f.sigmoid(), z_g.tanh()
        c = f * c_before + i * g
        z_o = z_o + p_o * c  # sees the new memory
        o = z_o.sigmoid()
        tanh_c = c.tanh()
        return Step(o * tanh_c, c, (i, f, g, o), (z_i, z_f, z_g, z_o), (tanh_c,))

    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return the gradients above; `cell_grad` is `f ⊙ δ^c + p_i ⊙ δ^i + p_f ⊙ δ^f` of step `t+1`."""
        c_before, (p_i, p_f, p_o) = previous.cell, _peepholes(weights)
        assert c_before is not None
        i, f, g, o = step.gates
        (tanh_c,) = step.kept
        d_o = through_sigmoid(emitted_grad * tanh_c, o)
        d_c = through_tanh(emitted_grad * o, tanh_c) + p_o * d_o
        if cell_grad is not None:
            d_c = d_c + cell_grad
        d_i = through_sigmoid(d_c * g, i)
        d_f = through_sigmoid(d_c * c_before, f)
        d_g = through_tanh(d_c * i, g)
        delta = torch.cat((d_i, d_f, d_g, d_o), dim=-1)
        return StepAdjoint(delta, delta, d_c, f * d_c + p_i * d_i + p_f * d_f)

    def jacobian(self, step: Step, previous: State, weights: Weights) -> Tensor:
        """Return the Jacobian of `(h, c)`; through the peepholes `∂c_t/∂c_{t-1}`, still diagonal, is not `f` alone."""
        c_before, (p_i, p_f, p_o) = previous.cell, _peepholes(weights)
        assert c_before is not None
        i, f, g, o = step.gates
        (tanh_c,) = step.kept
        w_i, w_f, w_g, w_o = weights.weight_hh.chunk(4)
        c_by_i, c_by_f, c_by_g = g * i * (1 - i), c_before * f * (1 - f), i * (1 - g * g)
        c_by_h = scaled_rows(c_by_i, w_i) + scaled_rows(c_by_f, w_f) + scaled_rows(c_by_g, w_g)
        c_by_c = torch.diag_embed(f + c_by_i * p_i + c_by_f * p_f)
        h_by_o = tanh_c * o * (1 - o)
        h_by_c_now = (o * (1 - tanh_c * tanh_c) + h_by_o * p_o).unsqueeze(-1)
        h_by_h = h_by_c_now * c_by_h + scaled_rows(h_by_o, w_o)
        return joined_state_jacobian(h_by_h, h_by_c_now * c_by_c, c_by_h, c_by_c)

    def extra_weight_grads(
        self, step: Step, previous: State, adjoint: StepAdjoint, emitted_grad: Tensor, weights: Weights
    ) -> dict[str, Tensor]:
        """Return the peepholes' gradients: `p_i` and `p_f` meet the old memory, `p_o` the new."""
        assert previous.cell is not None and step.cell is not None
        d_i, d_f, _, d_o = adjoint.projected_grad.chunk(4, dim=-1)
        grads = (d_i * previous.cell, d_f * previous.cell, d_o * step.cell)
        return {name: grad.sum(dim=(0, 1)) for name, grad in zip(PEEPHOLES, grads, strict=True)}


def _peepholes(weights: Weights) -> tuple[Tensor, Tensor, Tensor]:
    p_i, p_f, p_o = (weights.extra[name] for name in PEEPHOLES)
    return p_i, p_f, p_o


class PeepholeLSTMCell(RecurrentCell):
    """One step of a peephole LSTM: `torch.nn.LSTMCell` with `weight_ci`, `weight_cf`, `weight_co`, each `[H]`.

    Shape:
        `cell(input [B, I], (hidden [B, H], cell [B, H]) or None) -> (hidden, cell)`, or the same without `B`.

    Example:
        >>> cell = PeepholeLSTMCell(1, 1)
        >>> _ = [parameter.data.zero_() for parameter in cell.parameters()]
        >>> _ = cell.weight_cf.data.fill_(100.0)  # the forget gate opens wide once there is a memory
        >>> h, c = cell(torch.ones(1), (torch.zeros(1), torch.ones(1)))
        >>> c.item()
        1.0

    Reference:
        Gers, Schraudolph, Schmidhuber 2002, https://www.jmlr.org/papers/v3/gers02a.html
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(PeepholeLSTMEquations(), input_size, hidden_size, bias, device=device, dtype=dtype)
