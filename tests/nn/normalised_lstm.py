"""An LSTM with a memory, parameters of its own and a start of its own, of which only the forward step is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import layer_norm

from rnn_diag.cells import AutogradEquations, Gate, Role, State, Step, Weights


class NormalisedLSTM(AutogradEquations):
    """Pre-activations and memory are normalised and scaled by `gain [G*H]` and `cell_gain [H]`, which start at 1."""

    name = "normalised_lstm"
    blocks = (
        Gate("input", 0.0, 1.0, Role.WRITES),
        Gate("forget", 0.0, 1.0, Role.KEEPS),
        Gate("candidate", -1.0, 1.0, Role.CANDIDATE),
        Gate("output", 0.0, 1.0, Role.SHOWS),
    )
    has_cell = True
    extra_parameters: ClassVar[Mapping[str, tuple[str, ...]]] = {"gain": ("rows",), "cell_gain": ("hidden",)}

    def initialise(self, weights: Weights) -> None:
        """Start the gains at 1."""
        for gain in weights.extra.values():
            gain.data.fill_(1.0)

    def forward_step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the step."""
        assert previous.cell is not None
        summed = layer_norm(projected + recurrent, projected.shape[-1:], eps=0.1) * weights.extra["gain"]
        z_i, z_f, z_g, z_o = summed.chunk(4, dim=-1)
        i, f, g, o = z_i.sigmoid(), z_f.sigmoid(), z_g.tanh(), z_o.sigmoid()
        cell = f * previous.cell + i * g
        shown = layer_norm(cell, cell.shape[-1:], eps=0.1) * weights.extra["cell_gain"]
        return Step(o * shown.tanh(), cell, (i, f, g, o), (z_i, z_f, z_g, z_o))
