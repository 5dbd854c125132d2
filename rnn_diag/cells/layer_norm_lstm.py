"""The LSTM with layer normalisation: of both products, and of the memory that is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, final

import torch
from torch import Tensor

from rnn_diag.cells.derivatives import normalised, through_normalised, through_sigmoid, through_tanh
from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.gate import Gate, Role
from rnn_diag.cells.weights import Weights


@final
class LayerNormLSTMEquations(Equations):
    r"""An LSTM whose products and shown memory are normalised over units, each with gains of its own.

    .. math::
        [z_i, z_f, z_g, z_o] = γ_x ⊙ N(W x_t) + γ_h ⊙ N(U h_{t-1}) + β, \qquad N(a) = \frac{a - μ(a)}{\sqrt{v(a) + ε}}

        c_t = σ(z_f) ⊙ c_{t-1} + σ(z_i) ⊙ \tanh(z_g), \quad h_t = σ(z_o) ⊙ \tanh(γ_c ⊙ N(c_t) + β_c)

    Biases that torch's layers have stand inside the normalisation, which takes off their mean: `bias=False` leaves them
    to `β`. The gains start at 1.

    Example:
        >>> from rnn_diag.nn import Recurrent
        >>> Recurrent(LayerNormLSTMEquations, 3, 5, bias=False)(torch.zeros(7, 2, 3))[0].shape
        torch.Size([7, 2, 5])

    Reference:
        Ba, Kiros, Hinton 2016, equations 20 to 22, https://arxiv.org/abs/1607.06450
    """

    name: ClassVar[str] = "layer_norm_lstm"
    blocks = (
        Gate("input", 0.0, 1.0, Role.WRITES),
        Gate("forget", 0.0, 1.0, Role.KEEPS),
        Gate("candidate", -1.0, 1.0, Role.CANDIDATE),
        Gate("output", 0.0, 1.0, Role.SHOWS),
    )
    has_cell: ClassVar[bool] = True
    shows_tanh: ClassVar[bool] = False
    extra_parameters: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "gain_ih": ("rows",),
        "gain_hh": ("rows",),
        "shift": ("rows",),
        "gain_cell": ("hidden",),
        "shift_cell": ("hidden",),
    }
    hidden_is_bounded = True

    @torch.no_grad()
    def initialise(self, weights: Weights) -> None:
        """Start gains at 1 and shifts at 0."""
        for name, value in weights.extra.items():
            value.fill_(1.0 if name.startswith("gain") else 0.0)

    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the gates, the new memory and the new hidden state."""
        assert previous.cell is not None
        extra = weights.extra
        (x, of_x), (u, of_u) = normalised(projected), normalised(recurrent)
        z_i, z_f, z_g, z_o = (extra["gain_ih"] * x + extra["gain_hh"] * u + extra["shift"]).chunk(4, dim=-1)
        i, f, g, o = z_i.sigmoid(), z_f.sigmoid(), z_g.tanh(), z_o.sigmoid()
        c = f * previous.cell + i * g
        m, of_c = normalised(c)
        s = (extra["gain_cell"] * m + extra["shift_cell"]).tanh()
        return Step(o * s, c, (i, f, g, o), (z_i, z_f, z_g, z_o), (x, of_x, u, of_u, m, of_c, s))

    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return the gradients of both products, each through its own normalisation."""
        x, of_x, u, of_u, *_ = step.kept
        delta, d_c = self._before_gates(step, previous, emitted_grad, cell_grad, weights)
        into = through_normalised(delta * weights.extra["gain_ih"], x, of_x)
        back = through_normalised(delta * weights.extra["gain_hh"], u, of_u)
        return StepAdjoint(into, back, d_c, d_c * step.gates[1])

    def preactivation_grad(
        self, step: Step, previous: State, adjoint: StepAdjoint, emitted_grad: Tensor, weights: Weights
    ) -> Tensor:
        """Return the gradients after the normalisation, where the gates' nonlinearities are."""
        assert adjoint.cell_grad is not None
        return self._of_gates(step, previous, emitted_grad, adjoint.cell_grad)

    def extra_weight_grads(
        self, step: Step, previous: State, adjoint: StepAdjoint, emitted_grad: Tensor, weights: Weights
    ) -> dict[str, Tensor]:
        """Return the gradients of gains and shifts."""
        x, _, u, _, m, _, s = step.kept
        delta = self.preactivation_grad(step, previous, adjoint, emitted_grad, weights)
        d_s = through_tanh(emitted_grad * step.gates[3], s)
        grads = {"gain_ih": delta * x, "gain_hh": delta * u, "shift": delta, "gain_cell": d_s * m, "shift_cell": d_s}
        return {name: grad.sum(dim=(0, 1)) for name, grad in grads.items()}

    def _before_gates(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> tuple[Tensor, Tensor]:
        """Return the gradients of all pre-activations and of the memory."""
        *_, m, of_c, s = step.kept
        d_s = through_tanh(emitted_grad * step.gates[3], s)
        d_c = through_normalised(d_s * weights.extra["gain_cell"], m, of_c)
        if cell_grad is not None:
            d_c = d_c + cell_grad
        return self._of_gates(step, previous, emitted_grad, d_c), d_c

    def _of_gates(self, step: Step, previous: State, emitted_grad: Tensor, d_c: Tensor) -> Tensor:
        assert previous.cell is not None
        i, f, g, o = step.gates
        d_i, d_f = through_sigmoid(d_c * g, i), through_sigmoid(d_c * previous.cell, f)
        d_g, d_o = through_tanh(d_c * i, g), through_sigmoid(emitted_grad * step.kept[-1], o)
        return torch.cat((d_i, d_f, d_g, d_o), dim=-1)
