"""The selective diagonal state space: a linear recurrence whose decay, writing and reading depend on the input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import softplus

from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.gate import Gate, Role
from rnn_diag.cells.product import Nothing, Product
from rnn_diag.cells.weights import Weights


@final
class SelectiveEquations(Equations):
    r"""The recurrence inside Mamba, unit by unit.

    .. math::
        Δ = \mathrm{softplus}(z_Δ),\quad c_t = e^{-Δ ⊙ a} ⊙ c_{t-1} + Δ ⊙ b ⊙ x, \quad h_t = k ⊙ c_t + d ⊙ x,
        \qquad a = e^{A}

    where `z_Δ`, `b`, `k` and `x` are linear in the input: how large a step is, what is written, what is read, and the
    value. Mamba's block ties them: its channels share `b` and `k`, the states of a channel share `Δ` and `x`, and the
    `h` of a channel's states are summed. Its gate `step` is the share :math:`1 - e^{-Δ a}` that is forgotten; with
    :math:`a = 1` it is the sigmoid of `z_Δ`.

    Example:
        >>> from rnn_diag.nn import Recurrent
        >>> Recurrent(SelectiveEquations, 3, 5)(torch.zeros(7, 2, 3))[0].shape
        torch.Size([7, 2, 5])

    Reference:
        Gu, Dao 2023, https://arxiv.org/abs/2312.00752
    """

    name: ClassVar[str] = "selective"
    blocks = (
        Gate("step", 0.0, 1.0, Role.WRITES_OR_KEEPS),
        Gate("write", -math.inf, math.inf),
        Gate("read", -math.inf, math.inf),
        Gate("candidate", -math.inf, math.inf, Role.CANDIDATE),
    )
    has_cell: ClassVar[bool] = True
    shows_tanh: ClassVar[bool] = False
    recurrent_product: Product = Nothing()
    extra_parameters: ClassVar[Mapping[str, tuple[str, ...]]] = {"log_decay": ("hidden",), "skip": ("hidden",)}

    @torch.no_grad()
    def initialise(self, weights: Weights) -> None:
        """Start `a` at 1 to 16, `Δ` at 0.001 to 0.1 by its bias, `d` at 1."""
        units = self.hidden_size(weights)
        decay, skip = weights.extra["log_decay"], weights.extra["skip"]
        decay.copy_((torch.arange(units, dtype=decay.dtype, device=decay.device) % 16 + 1).log())
        skip.fill_(1.0)
        if weights.bias_ih is not None and weights.bias_hh is not None:
            steps = torch.empty_like(decay).uniform_(math.log(0.001), math.log(0.1)).exp()
            self.by_block(weights.bias_ih, 0)["step"].copy_(steps.expm1().log())  # the inverse of softplus
            self.by_block(weights.bias_hh, 0)["step"].zero_()

    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the share forgotten, what is written and read, the new memory and the new hidden state."""
        assert previous.cell is not None
        z, b, k, x = (projected + recurrent).chunk(4, dim=-1)
        size = softplus(z)
        rate = size * weights.extra["log_decay"].exp()
        kept = (-rate).exp()
        c = kept * previous.cell + size * b * x
        slope = z.sigmoid()
        h = k * c + weights.extra["skip"] * x
        return Step(h, c, (-torch.expm1(-rate), b, k, x), (z, b, k, x), (size, kept, slope))

    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return the gradients of the four products; the memory gets `e^{-Δa} ⊙ δ^c`, the hidden state nothing."""
        assert previous.cell is not None and step.cell is not None
        _, b, k, x = step.gates
        size, kept, slope = step.kept
        d_c = emitted_grad * k
        if cell_grad is not None:
            d_c = d_c + cell_grad
        d_size = d_c * (b * x - weights.extra["log_decay"].exp() * kept * previous.cell)
        d_x = d_c * size * b + emitted_grad * weights.extra["skip"]
        delta = torch.cat((d_size * slope, d_c * size * x, emitted_grad * step.cell, d_x), dim=-1)
        return StepAdjoint(delta, delta, d_c, d_c * kept)

    def extra_weight_grads(
        self, step: Step, previous: State, adjoint: StepAdjoint, emitted_grad: Tensor, weights: Weights
    ) -> dict[str, Tensor]:
        """Return the gradients of `A` and `d`."""
        assert previous.cell is not None and adjoint.cell_grad is not None
        size, kept, _ = step.kept
        of_decay = -adjoint.cell_grad * previous.cell * kept * size * weights.extra["log_decay"].exp()
        return {"log_decay": of_decay.sum(dim=(0, 1)), "skip": (emitted_grad * step.gates[3]).sum(dim=(0, 1))}

    def log_kept(self, step: Step, previous: State, weights: Weights) -> Tensor:
        """Return `-Δ ⊙ a`."""
        z, *_ = step.preactivations
        return -softplus(z) * weights.extra["log_decay"].to(z).exp()

    def scanned(self, projected: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        """Return `e^{-Δa}` and `Δ ⊙ b ⊙ x`."""
        bias = 0.0 if weights.bias_hh is None else weights.bias_hh
        z, b, _, x = (projected + bias).chunk(4, dim=-1)
        size = softplus(z)
        return (-size * weights.extra["log_decay"].exp()).exp(), size * b * x
