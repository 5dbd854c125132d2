"""A recurrence whose activation mixes its units: h = softmax(z), of which every unit's change moves all others."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor

from rnn_diag.cells import AutogradEquations, Gate, State, Step, Weights


@final
class SoftmaxEquations(AutogradEquations):
    """`h_t = softmax(z_t)`; the activation Jacobian is the full matrix `diag(h) - h h^T`."""

    name: ClassVar[str] = "softmax"
    blocks: tuple[Gate, ...] = (Gate("hidden", 0.0, 1.0),)

    @property
    def gates(self) -> tuple[Gate, ...]:
        """None: nothing is gated."""
        return ()

    def forward_step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return `h = softmax(z)`."""
        z = projected + recurrent
        return Step(torch.softmax(z, dim=-1), None, (), (z,))
