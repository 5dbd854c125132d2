"""The minimal gated unit: two row blocks, one gate that writes and keeps, and a forward step only."""

from __future__ import annotations

from torch import Tensor

from rnn_diag.cells import AutogradEquations, Gate, Role, State, Step, Weights


class MinimalGatedUnit(AutogradEquations):
    """`h_t = (1 - f) ⊙ h_{t-1} + f ⊙ n`; a large `f` forgets."""

    name = "minimal_gated_unit"
    blocks = (Gate("forget", 0.0, 1.0, Role.WRITES_OR_KEEPS), Gate("candidate", -1.0, 1.0, Role.CANDIDATE))
    hidden_is_bounded = True

    def forward_step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the gate, the candidate and the new hidden state."""
        z_f, z_n = (projected + recurrent).chunk(2, dim=-1)
        f, n = z_f.sigmoid(), z_n.tanh()
        return Step((1 - f) * previous.hidden + f * n, None, (f, n), (z_f, z_n))
