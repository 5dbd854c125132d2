"""What every cell module shares: torch's parameters, initialisation and call signature around a set of equations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rnn_diag.cells.equations import Equations, State, Weights, project


def advance(equations: Equations, input: Tensor, state: State, weights: Weights) -> State:
    """Return the state after one step, differentiable any number of times: `input [B, I]`, states `[B, P]`, `[B, H]`."""
    projected = linear(input, weights.weight_ih, weights.bias_ih)
    recurrent = linear(state.hidden, weights.weight_hh, weights.bias_hh)
    step = equations.step(projected, recurrent, state, weights)
    return State(project(step.emitted, weights), step.cell)


class RecurrentCell(nn.RNNCellBase):
    """A cell with torch's parameters whose step is a set of equations; subclasses give the call signature."""

    extra_weights: ClassVar[tuple[str, ...]] = ()
    """Names of the diagonal parameters `[H]` that a cell has beyond torch's."""

    def __init__(
        self,
        equations: Equations,
        input_size: int,
        hidden_size: int,
        bias: bool,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if not 0 <= proj_size < max(hidden_size, 1):
            raise ValueError(f"proj_size is {proj_size}; expected 0 (none) to hidden_size - 1 = {hidden_size - 1}")
        super().__init__(input_size, hidden_size, bias, num_chunks=len(equations.blocks), device=device, dtype=dtype)
        self.equations = equations
        self.proj_size = proj_size
        if proj_size:
            rows = len(equations.blocks) * hidden_size
            self.weight_hh = nn.Parameter(torch.empty(rows, proj_size, device=device, dtype=dtype))
            self.weight_hr = nn.Parameter(torch.empty(proj_size, hidden_size, device=device, dtype=dtype))
        for name in self.extra_weights:
            self.register_parameter(name, nn.Parameter(torch.empty(hidden_size, device=device, dtype=dtype)))
        if proj_size or self.extra_weights:
            self.reset_parameters()

    @property
    def weights(self) -> Weights:
        """The parameters, as the equations take them."""
        return Weights.from_names({name: getattr(self, name, None) for name in Weights.names()})

    def _advance(self, input: Tensor, state: Sequence[Tensor] | None) -> State:
        if input.dim() not in (1, 2):
            raise ValueError(f"{type(self).__name__}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        unbatched = input.dim() == 1
        batch = input.unsqueeze(0) if unbatched else input
        before = self._zeros(batch) if state is None else self._given(state, batch, unbatched)
        after = advance(self.equations, batch, before, self.weights)
        return State(*(None if s is None else s.squeeze(0) for s in after)) if unbatched else after

    def _state_sizes(self) -> dict[str, int]:
        sizes = {"hidden": self.proj_size or self.hidden_size}
        return sizes | {"cell": self.hidden_size} if self.equations.has_cell else sizes

    def _zeros(self, batch: Tensor) -> State:
        return State(*(batch.new_zeros(batch.shape[0], size) for size in self._state_sizes().values()))

    def _given(self, state: Sequence[Tensor], batch: Tensor, unbatched: bool) -> State:
        if batch.shape[1] != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {batch.shape[1]} expected {self.input_size}")
        sizes = self._state_sizes()
        if len(state) != len(sizes):
            raise ValueError(
                f"{type(self).__name__}: got {len(state)} states, expected {len(sizes)}: {', '.join(sizes)}"
            )
        given = []
        for value, (name, size) in zip(state, sizes.items(), strict=True):
            if value.dim() not in (1, 2):
                raise ValueError(f"{type(self).__name__}: Expected {name} to be 1D or 2D, got {value.dim()}D instead")
            value = value.unsqueeze(0) if unbatched else value
            if tuple(value.shape) != (batch.shape[0], size):
                raise RuntimeError(
                    f"{type(self).__name__}: {name} state has shape {tuple(value.shape)}, "
                    f"expected {(batch.shape[0], size)} (batch, units)"
                )
            given.append(value)
        return State(*given)
