"""The minimal GRU: one gate and a candidate from the input alone, so that the state enters linearly."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor

from rnn_diag.cells.derivatives import positive, through_positive, through_sigmoid
from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.gate import Gate, Role
from rnn_diag.cells.product import Nothing, Product
from rnn_diag.cells.weights import Weights


@final
class MinGRUEquations(Equations):
    r"""A GRU whose gate and candidate do not see the state.

    .. math:: z = σ(z_z),\; n = g(z_n), \qquad h_t = (1 - z) ⊙ h_{t-1} + z ⊙ n

    with :math:`g(a) = a + ½` where :math:`a ≥ 0`, else :math:`σ(a)`: a positive candidate, whose recurrence can be
    taken in log space. A *large* `z` forgets. No product of the state is taken: `weight_hh` has no columns.

    Example:
        >>> from rnn_diag.nn import Recurrent
        >>> Recurrent(MinGRUEquations, 3, 5)(torch.zeros(7, 2, 3))[0].shape
        torch.Size([7, 2, 5])

    Reference:
        Feng, Tung, Ahmed, Bengio, Hajimirsadeghi 2024, https://arxiv.org/abs/2410.01201
    """

    name: ClassVar[str] = "min_gru"
    blocks = (Gate("update", 0.0, 1.0, Role.WRITES_OR_KEEPS), Gate("candidate", 0.0, float("inf"), Role.CANDIDATE))
    recurrent_product: Product = Nothing()

    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the gate, the candidate and the new hidden state."""
        z_z, z_n = (projected + recurrent).chunk(2, dim=-1)
        z, n = z_z.sigmoid(), positive(z_n)
        return Step((1 - z) * previous.hidden + z * n, None, (z, n), (z_z, z_n))

    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return the pre-activation gradients; the state gets `(1 - z) ⊙ δ^h` and nothing else."""
        z, n = step.gates
        d_z = through_sigmoid(emitted_grad * (n - previous.hidden), z)
        d_n = through_positive(emitted_grad * z, n)
        delta = torch.cat((d_z, d_n), dim=-1)
        return StepAdjoint(delta, delta, previous_hidden_grad=emitted_grad * (1 - z))

    def scanned(self, projected: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        """Return `1 - z` and `z ⊙ n`."""
        z_z, z_n = (projected + (0.0 if weights.bias_hh is None else weights.bias_hh)).chunk(2, dim=-1)
        return (-z_z).sigmoid(), z_z.sigmoid() * positive(z_n)

    def jacobian(self, step: Step, previous: State, weights: Weights) -> Tensor:
        """Return `diag(1 - z)`."""
        return torch.diag_embed(1 - step.gates[0])
