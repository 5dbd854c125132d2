"""The LSTM with zoneout: at every step some units keep their old state instead of the new one."""

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
class ZoneoutLSTMEquations(Equations):
    r"""An LSTM whose hidden state and memory are held at random, each with a probability of its own.

    .. math::
        c_t &= d^c ⊙ c_{t-1} + (1 - d^c) ⊙ (f ⊙ c_{t-1} + i ⊙ g) \\
        h_t &= d^h ⊙ h_{t-1} + (1 - d^h) ⊙ (o ⊙ \tanh(f ⊙ c_{t-1} + i ⊙ g))

    with zeros and ones `d` drawn at every step in training; in evaluation they are their probabilities. What a layer
    drew follows its features in `Trace.inputs`, so that every sweep uses the very masks of the call.

    Args:
        cell: Probability of holding a unit's memory.
        hidden: Probability of holding its hidden state.

    Raises:
        ValueError: If a probability is not in [0, 1].

    Example:
        >>> from rnn_diag.nn import Recurrent
        >>> Recurrent(ZoneoutLSTMEquations, 3, 5)(torch.zeros(7, 2, 3))[0].shape
        torch.Size([7, 2, 5])

    Reference:
        Krueger et al. 2017, https://arxiv.org/abs/1606.01305
    """

    name: ClassVar[str] = "zoneout_lstm"
    blocks = (
        Gate("input", 0.0, 1.0, Role.WRITES),
        Gate("forget", 0.0, 1.0, Role.KEEPS),
        Gate("candidate", -1.0, 1.0, Role.CANDIDATE),
        Gate("output", 0.0, 1.0, Role.SHOWS),
    )
    has_cell: ClassVar[bool] = True
    shows_tanh: ClassVar[bool] = False
    hidden_is_bounded = True

    def __init__(self, cell: float = 0.5, hidden: float = 0.05) -> None:
        self.cell = number("cell", cell, at_least=0, at_most=1)
        self.hidden = number("hidden", hidden, at_least=0, at_most=1)

    def __reduce__(self) -> tuple[Any, ...]:
        return ZoneoutLSTMEquations, (self.cell, self.hidden)

    def drawn_size(self, hidden_size: int) -> int:
        """Return a mask for each part of the state."""
        return 2 * hidden_size

    def draw(self, inputs: Tensor, hidden_size: int, training: bool) -> Tensor:
        """Return the masks of the memory, then those of the hidden state."""
        ones = inputs.new_ones(*inputs.shape[:-1], hidden_size)
        held = [share * ones for share in (self.cell, self.hidden)]
        return torch.cat([share.bernoulli() if training else share for share in held], dim=-1)

    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the gates, the new memory and the new hidden state."""
        assert previous.cell is not None
        rows = recurrent.shape[-1]
        z_i, z_f, z_g, z_o = (projected[..., :rows] + recurrent).chunk(4, dim=-1)
        d_c, d_h = projected[..., rows:].detach().chunk(2, dim=-1)
        i, f, g, o = z_i.sigmoid(), z_f.sigmoid(), z_g.tanh(), z_o.sigmoid()
        new = f * previous.cell + i * g
        tanh_c = new.tanh()
        c = d_c * previous.cell + (1 - d_c) * new
        h = d_h * previous.hidden + (1 - d_h) * (o * tanh_c)
        return Step(h, c, (i, f, g, o), (z_i, z_f, z_g, z_o), (tanh_c, d_c, d_h))

    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return the pre-activation gradients; what was held passes its gradient on as it is."""
        assert previous.cell is not None
        i, f, g, o = step.gates
        tanh_c, d_c, d_h = step.kept
        carried = torch.zeros_like(emitted_grad) if cell_grad is None else cell_grad.expand_as(emitted_grad)
        shown = emitted_grad * (1 - d_h)
        d_new = through_tanh(shown * o, tanh_c) + carried * (1 - d_c)
        d_i, d_f = through_sigmoid(d_new * g, i), through_sigmoid(d_new * previous.cell, f)
        delta = torch.cat((d_i, d_f, through_tanh(d_new * i, g), through_sigmoid(shown * tanh_c, o)), dim=-1)
        return StepAdjoint(delta, delta, carried, d_new * f + carried * d_c, emitted_grad * d_h)

    def log_kept(self, step: Step, previous: State, weights: Weights) -> Tensor:
        """Return the log of what a memory keeps: all of it where it is held, else what the forget gate leaves."""
        _, d_c, _ = step.kept
        log_f = super().log_kept(step, previous, weights)
        return torch.where(d_c == 0, log_f, (d_c + (1 - d_c) * log_f.exp()).log())
