"""The sLSTM: exponential gates with a normaliser and a stabiliser, and a recurrence within heads."""

from __future__ import annotations

import math
from typing import Any, ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rnn_diag.arguments import whole
from rnn_diag.cells.derivatives import through_sigmoid, through_tanh
from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.gate import Gate, Role
from rnn_diag.cells.product import BlockDiagonal
from rnn_diag.cells.weights import Weights


@final
class SLSTMEquations(Equations):
    r"""The scalar-memory block of an xLSTM.

    .. math::
        m_t &= \max(\ln σ(z_f) + m_{t-1},\, z_i), \quad i = e^{z_i - m_t},\; f = e^{\ln σ(z_f) + m_{t-1} - m_t} \\
        c_t &= f ⊙ c_{t-1} + i ⊙ \tanh(z_g), \quad n_t = f ⊙ n_{t-1} + i, \quad h_t = σ(z_o) ⊙ c_t / n_t

    The memory has three parts, side by side: `c`, the normaliser `n` and the stabiliser `m`, which changes no hidden
    state: it only keeps the exponentials in range. Where `n` is 0, as at the start, nothing is kept and
    `m_t` is `z_i`. The input gate shown is the stabilised `i`, the forget gate the sigmoid.

    Args:
        heads: Units of different heads do not see each other; it divides the hidden size.

    Raises:
        ValueError: If there is no head, or the heads do not divide the hidden size.

    Example:
        >>> from rnn_diag.nn import Recurrent
        >>> output, (h, memory) = Recurrent(SLSTMEquations(heads=2), 3, 6)(torch.zeros(7, 2, 3))
        >>> output.shape, memory.shape
        (torch.Size([7, 2, 6]), torch.Size([1, 2, 18]))

    Reference:
        Beck et al. 2024, section 2.2 and appendix A.2, https://arxiv.org/abs/2405.04517
    """

    name: ClassVar[str] = "slstm"
    blocks = (
        Gate("input", 0.0, math.inf, Role.WRITES),
        Gate("forget", 0.0, 1.0, Role.KEEPS),
        Gate("candidate", -1.0, 1.0, Role.CANDIDATE),
        Gate("output", 0.0, 1.0, Role.SHOWS),
    )
    has_cell: ClassVar[bool] = True
    shows_tanh: ClassVar[bool] = False
    cell_parts: ClassVar[tuple[str, ...]] = ("memory", "normaliser", "stabiliser")
    hidden_is_bounded = True

    def __init__(self, heads: int = 1) -> None:
        self.heads = whole("heads", heads, at_least=1)
        self.recurrent_product = BlockDiagonal(self.heads)

    def __reduce__(self) -> tuple[Any, ...]:
        return SLSTMEquations, (self.heads,)

    @torch.no_grad()
    def initialise(self, weights: Weights) -> None:
        """Start without recurrent weights, and with forget gates of biases 3 to 6: memories of 20 to 400 steps."""
        weights.weight_hh.zero_()
        if weights.bias_ih is not None and weights.bias_hh is not None:
            forget = self.by_block(weights.bias_ih, 0)["forget"]
            forget.copy_(torch.linspace(3.0, 6.0, len(forget), dtype=forget.dtype, device=forget.device))
            self.by_block(weights.bias_hh, 0)["forget"].zero_()

    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the gates, the three parts of the new memory and the new hidden state."""
        assert previous.cell is not None
        c_before, n_before, m_before = previous.cell.chunk(3, dim=-1)
        z_i, z_f, z_g, z_o = (projected + recurrent).chunk(4, dim=-1)
        log_f = logsigmoid(z_f) + m_before
        empty = n_before == 0
        m = torch.where(empty, z_i, torch.maximum(log_f, z_i))
        i, kept = (z_i - m).exp(), torch.where(empty, 0.0, torch.where(empty, 0.0, log_f - m).exp())
        g, o = z_g.tanh(), z_o.sigmoid()
        memory = torch.cat((kept * c_before + i * g, kept * n_before + i, m), dim=-1)
        c, n, _ = memory.chunk(3, dim=-1)
        longer = ((log_f > z_i).to(z_i.dtype) + (log_f >= z_i).to(z_i.dtype)) / 2  # half of each where they are equal
        kept_longer = torch.where(empty, 0.0, longer)
        return Step(
            o * c / n,
            memory,
            (i, z_f.sigmoid(), g, o),
            (z_i, z_f, z_g, z_o),
            (kept, kept_longer),
        )

    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return the pre-activation gradients, and those of the memory's parts, each with the others held."""
        assert previous.cell is not None and step.cell is not None
        c_before, n_before, _ = previous.cell.chunk(3, dim=-1)
        c, n, _ = step.cell.chunk(3, dim=-1)
        i, f, g, o = step.gates
        kept, kept_longer = step.kept
        d_c, d_n, d_m = emitted_grad * o / n, -emitted_grad * o * c / (n * n), torch.zeros_like(emitted_grad)
        if cell_grad is not None:
            d_c, d_n, d_m = (new + late for new, late in zip((d_c, d_n, d_m), cell_grad.chunk(3, dim=-1), strict=True))
        d_kept, d_i = (d_c * c_before + d_n * n_before) * kept, (d_c * g + d_n) * i  # of their exponents
        of_stabiliser = d_m - d_kept - d_i
        d_log_f, d_i = d_kept + of_stabiliser * kept_longer, d_i + of_stabiliser * (1 - kept_longer)
        d_g, d_o = through_tanh(d_c * i, g), through_sigmoid(emitted_grad * c / n, o)
        delta = torch.cat((d_i, d_log_f * (1 - f), d_g, d_o), dim=-1)
        handed = torch.cat((d_c * kept, d_n * kept, d_log_f), dim=-1)
        return StepAdjoint(delta, delta, torch.cat((d_c, d_n, d_m), dim=-1), handed)

    def log_kept(self, step: Step, previous: State, weights: Weights) -> Tensor:
        r"""Return the log of what is left of the old :math:`c/n` in the new one, a weighted mean: `f n_{t-1} / n_t`.

        It is 0 where there was nothing to keep.
        """
        assert previous.cell is not None and step.cell is not None
        _, n_before, m_before = previous.cell.chunk(3, dim=-1)
        _, n, m = step.cell.chunk(3, dim=-1)
        log_share = logsigmoid(step.preactivations[1]) + m_before - m + n_before.log() - n.log()
        return torch.where(n_before == 0, 0.0, log_share)
