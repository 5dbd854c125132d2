"""The LSTM with recurrent dropout: what is written into the memory is dropped, by one mask for a whole sequence."""

from __future__ import annotations

from typing import Any, ClassVar, final

import torch
from torch import Tensor

from rnn_diag.arguments import number
from rnn_diag.cells.derivatives import through_sigmoid, through_tanh
from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.gate import Gate, Role
from rnn_diag.cells.weights import Weights


@final
class VariationalLSTMEquations(Equations):
    r"""An LSTM whose candidate is dropped, so that dropout never wipes the memory.

    .. math:: c_t = f ⊙ c_{t-1} + i ⊙ (d ⊙ g), \qquad h_t = o ⊙ \tanh(c_t)

    with `d` drawn once for each sequence, or at every step: 0 with the given probability and `1 / (1 - p)` otherwise;
    in evaluation 1. What a layer drew follows its features in `Trace.inputs`.

    Args:
        dropout: Probability of dropping a unit's candidate, below 1.
        per_step: Whether a new mask is drawn at every step. A cell that is called step by step always does.

    Raises:
        ValueError: If the probability is not in [0, 1).

    Example:
        >>> from rnn_diag.nn import Recurrent
        >>> layer = Recurrent(VariationalLSTMEquations, 3, 5)
        >>> layer(torch.zeros(7, 2, 3))[0].shape, len(layer.drawn["l0"].unique(dim=0))
        (torch.Size([7, 2, 5]), 1)

    Reference:
        Where: Semeniuta, Severyn, Barth 2016, https://arxiv.org/abs/1603.05118; one mask for a sequence: Gal,
        Ghahramani 2016, https://arxiv.org/abs/1512.05287
    """

    name: ClassVar[str] = "variational_lstm"
    blocks = (
        Gate("input", 0.0, 1.0, Role.WRITES),
        Gate("forget", 0.0, 1.0, Role.KEEPS),
        Gate("candidate", -1.0, 1.0, Role.CANDIDATE),
        Gate("output", 0.0, 1.0, Role.SHOWS),
    )
    has_cell: ClassVar[bool] = True
    hidden_is_bounded = True

    def __init__(self, dropout: float = 0.25, per_step: bool = False) -> None:
        self.dropout = number("dropout", dropout, at_least=0, below=1)
        self.per_step = per_step

    def __reduce__(self) -> tuple[Any, ...]:
        return VariationalLSTMEquations, (self.dropout, self.per_step)

    def drawn_size(self, hidden_size: int) -> int:
        """Return one mask."""
        return hidden_size

    def draw(self, inputs: Tensor, hidden_size: int, training: bool) -> Tensor:
        """Return the mask of every step, the same for all steps unless `per_step`."""
        masks = inputs.new_ones(*inputs.shape[:-1], hidden_size)
        if not training:
            return masks
        drawn = masks if self.per_step or inputs.dim() < 3 else masks[:1]
        return (drawn * (1 - self.dropout)).bernoulli().div(1 - self.dropout).expand_as(masks)

    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the gates, the new memory and the new hidden state."""
        assert previous.cell is not None
        rows = recurrent.shape[-1]
        z_i, z_f, z_g, z_o = (projected[..., :rows] + recurrent).chunk(4, dim=-1)
        d = projected[..., rows:].detach()
        i, f, g, o = z_i.sigmoid(), z_f.sigmoid(), z_g.tanh(), z_o.sigmoid()
        c = f * previous.cell + i * d * g
        tanh_c = c.tanh()
        return Step(o * tanh_c, c, (i, f, g, o), (z_i, z_f, z_g, z_o), (tanh_c, d))

    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return the pre-activation gradients; `cell_grad` is `f_{t+1} ⊙ δ^c_{t+1}`."""
        assert previous.cell is not None
        i, f, g, o = step.gates
        tanh_c, d = step.kept
        d_c = through_tanh(emitted_grad * o, tanh_c)
        if cell_grad is not None:
            d_c = d_c + cell_grad
        d_i, d_f = through_sigmoid(d_c * d * g, i), through_sigmoid(d_c * previous.cell, f)
        delta = torch.cat((d_i, d_f, through_tanh(d_c * i * d, g), through_sigmoid(emitted_grad * tanh_c, o)), dim=-1)
        return StepAdjoint(delta, delta, d_c, d_c * f)
