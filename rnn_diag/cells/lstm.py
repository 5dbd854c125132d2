"""The LSTM's recurrence, its adjoint and its Jacobian; gates in torch's order: input, forget, candidate, output."""

from __future__ import annotations

from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from rnn_diag.cells.cell import RecurrentCell
from rnn_diag.cells.derivatives import joined_state_jacobian, scaled_rows, through_sigmoid, through_tanh
from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.gate import Gate, Role
from rnn_diag.cells.weights import Weights


@final
class LSTMEquations(Equations):
    r"""The LSTM with a forget gate.

    .. math::
        i = σ(z_i),\; f = σ(z_f),\; g = \tanh(z_g),\; o = σ(z_o), \qquad
        c_t = f ⊙ c_{t-1} + i ⊙ g,\; h_t = o ⊙ \tanh(c_t)
    """

    name: ClassVar[str] = "lstm"
    blocks = (
        Gate("input", 0.0, 1.0, Role.WRITES),
        Gate("forget", 0.0, 1.0, Role.KEEPS),
        Gate("candidate", -1.0, 1.0, Role.CANDIDATE),
        Gate("output", 0.0, 1.0, Role.SHOWS),
    )
    has_cell: ClassVar[bool] = True
    hidden_is_bounded = True
    fused = nn.LSTM

    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the gates, the new memory and the new hidden state."""
        assert previous.cell is not None
        z_i, z_f, z_g, z_o = (projected + recurrent).chunk(4, dim=-1)
        i, f, g, o = z_i.sigmoid(), z_f.sigmoid(), z_g.tanh(), z_o.sigmoid()
        c = f * previous.cell + i * g
        tanh_c = c.tanh()
        return Step(o * tanh_c, c, (i, f, g, o), (z_i, z_f, z_g, z_o), (tanh_c,))

    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return the pre-activation gradients; `cell_grad` is `f_{t+1} ⊙ δ^c_{t+1}`."""
        assert previous.cell is not None
        i, f, g, o = step.gates
        (tanh_c,) = step.kept
        d_o = through_sigmoid(emitted_grad * tanh_c, o)
        d_c = through_tanh(emitted_grad * o, tanh_c)
        if cell_grad is not None:
            d_c = d_c + cell_grad
        d_i = through_sigmoid(d_c * g, i)
        d_f = through_sigmoid(d_c * previous.cell, f)
        d_g = through_tanh(d_c * i, g)
        delta = torch.cat((d_i, d_f, d_g, d_o), dim=-1)
        return StepAdjoint(delta, delta, d_c, d_c * f)

    def jacobian(self, step: Step, previous: State, weights: Weights) -> Tensor:
        """Return the Jacobian of `(h, c)`: the carousel is the diagonal block `∂c_t/∂c_{t-1} = diag(f)`."""
        assert previous.cell is not None
        i, f, g, o = step.gates
        (tanh_c,) = step.kept
        w_i, w_f, w_g, w_o = weights.weight_hh.chunk(4)
        c_by_h = (
            scaled_rows(g * i * (1 - i), w_i)
            + scaled_rows(previous.cell * f * (1 - f), w_f)
            + scaled_rows(i * (1 - g * g), w_g)
        )
        c_by_c = torch.diag_embed(f)
        h_by_c_now = (o * (1 - tanh_c * tanh_c)).unsqueeze(-1)
        h_by_h = h_by_c_now * c_by_h + scaled_rows(tanh_c * o * (1 - o), w_o)
        h_by_c = h_by_c_now * c_by_c
        if weights.weight_hr is not None:
            h_by_h, h_by_c = weights.weight_hr @ h_by_h, weights.weight_hr @ h_by_c
        return joined_state_jacobian(h_by_h, h_by_c, c_by_h, c_by_c)


class LSTMCell(RecurrentCell):
    """One step of an LSTM: `torch.nn.LSTMCell`, and `proj_size`, which torch's cell lacks.

    Shape:
        `cell(input [B, I], (hidden [B, P], cell [B, H]) or None) -> (hidden, cell)`, or the same without `B`;
        `P` is `proj_size` or `hidden_size`.

    Raises:
        ValueError: If `proj_size` is not smaller than `hidden_size`.

    Example:
        >>> cell = LSTMCell(1, 1)
        >>> _ = [parameter.data.zero_() for parameter in cell.parameters()]
        >>> h, c = cell(torch.ones(1), (torch.zeros(1), torch.ones(1)))
        >>> c.item()  # every gate is half open
        0.5

    Reference:
        Hochreiter, Schmidhuber 1997, https://doi.org/10.1162/neco.1997.9.8.1735; forget gate: Gers, Schmidhuber,
        Cummins 2000, https://doi.org/10.1162/089976600300015015; projection: Sak, Senior, Beaufays 2014,
        https://arxiv.org/abs/1402.1128
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        proj_size: int = 0,
    ) -> None:
        super().__init__(
            LSTMEquations(), input_size, hidden_size, bias, proj_size=proj_size, device=device, dtype=dtype
        )
