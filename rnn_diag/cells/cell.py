"""What every cell module shares: torch's parameters, initialisation and call signature around a set of equations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rnn_diag.cells.equations import Equations, State
from rnn_diag.cells.weights import Weights, weights_of


def advance(equations: Equations, input: Tensor, state: State, weights: Weights) -> State:
    """Return the state after one step of `[B, I]` from `[B, P]` and `[B, H]`, differentiable any number of times."""
    projected, recurrent = equations.projected(input, weights), equations.recurrent(state.hidden, weights)
    step = equations.step(projected, recurrent, state, weights)
    return State(weights.project(step.emitted), step.cell)


class RecurrentCell(nn.RNNCellBase):
    """A cell with torch's parameters whose step is any set of equations.

    Args:
        equations: An instance or a class of `rnn_diag.cells.Equations`, or the dotted path of one.
        input_size: Features.
        hidden_size: Units.
        bias: Whether there are `bias_ih` and `bias_hh`.
        proj_size: Size of the projected hidden state, or 0 for none.
        device: Of the parameters.
        dtype: Of the parameters.

    Shape:
        `cell(input [B, I], hidden [B, P] or None) -> hidden`, or with a memory
        `cell(input, (hidden, cell [B, H]) or None) -> (hidden, cell)`; or the same without `B`.

    Raises:
        ValueError: If `proj_size` is not smaller than `hidden_size`.

    Example:
        >>> from rnn_diag.cells import GRUEquations
        >>> RecurrentCell(GRUEquations, 3, 5)(torch.zeros(2, 3)).shape
        torch.Size([2, 5])
    """

    drawn: Tensor
    """What the last call drew, `[B, drawn_size]`, where the equations draw."""

    def __init__(
        self,
        equations: Equations | type[Equations] | str,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if not 0 <= proj_size < max(hidden_size, 1):
            raise ValueError(f"proj_size={proj_size}; expected 0 (none) to hidden_size - 1 = {hidden_size - 1}")
        equations = Equations.of(equations)
        super().__init__(input_size, hidden_size, bias, num_chunks=len(equations.blocks), device=device, dtype=dtype)
        self.equations = equations
        self.proj_size = proj_size
        rows = len(equations.blocks) * hidden_size
        shapes = equations.shapes(rows, input_size, proj_size or hidden_size)
        own = {name: shape for name, shape in shapes.items() if bias or not name.startswith("bias")}
        own |= {"weight_hr": (proj_size, hidden_size)} if proj_size else {}
        own |= equations.extra_shapes(input_size, hidden_size)
        changed = False
        for name, shape in own.items():
            if getattr(getattr(self, name, None), "shape", None) != shape:
                setattr(self, name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
                changed = True
        if changed:
            super().reset_parameters()
        equations.initialise(self.weights)

    def reset_parameters(self) -> None:
        """Draw all weights as torch does; then the equations set those that are to start otherwise."""
        super().reset_parameters()
        if "equations" in self.__dict__:  # else torch's constructor is still at work
            self.equations.initialise(self.weights)

    @property
    def weights(self) -> Weights:
        """The parameters, as the equations take them."""
        return weights_of(self, "l0")

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Return the next hidden state; with a memory, the next hidden state and the next memory."""
        after = self._advance(input, hx if self.equations.has_cell or hx is None else (hx,))
        return tuple(after) if self.equations.has_cell else after.hidden

    def _advance(self, input: Tensor, state: Sequence[Tensor] | None) -> State:
        """Step a batch or a single sequence.

        Raises:
            ValueError, RuntimeError, TypeError: What torch's cell raises for the same mistake, in its words.
        """
        if input.dim() not in (1, 2):
            raise ValueError(f"{type(self).__name__}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        unbatched = input.dim() == 1
        batch = input.unsqueeze(0) if unbatched else input
        if batch.shape[1] != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {batch.shape[1]} expected {self.input_size}")
        before = self._zeros(batch) if state is None else self._given(state, batch, unbatched)
        if self.equations.draws:
            batch = self.equations.given(batch, self.hidden_size, self.training)
            self.drawn = batch[:, self.input_size :].detach()
        after = advance(self.equations, batch, before, self.weights)
        return State(*(part.squeeze(0) for part in after if part is not None)) if unbatched else after

    @property
    def _state_sizes(self) -> tuple[int, ...]:
        hidden = self.proj_size or self.hidden_size
        return (hidden, self.equations.cell_size(self.hidden_size)) if self.equations.has_cell else (hidden,)

    def _zeros(self, batch: Tensor) -> State:
        return State(*(batch.new_zeros(len(batch), size) for size in self._state_sizes))

    def _given(self, state: Sequence[Tensor], batch: Tensor, unbatched: bool) -> State:
        if not isinstance(state, (tuple, list)):
            raise TypeError(f"{type(self).__name__}: expected hx to be a tuple of Tensors, not {type(state).__name__}")
        for k, part in enumerate(state):
            if part.dim() not in (1, 2):
                name = f"hx[{k}]" if self.equations.has_cell else "hidden"
                raise ValueError(f"{type(self).__name__}: Expected {name} to be 1D or 2D, got {part.dim()}D instead")
        if len(state) != len(self._state_sizes):
            raise RuntimeError(f"{type(self).__name__} expects two hidden states, got {len(state)}")
        given = [part.unsqueeze(0) if unbatched else part for part in state]
        for k, (part, size) in enumerate(zip(given, self._state_sizes, strict=True)):
            if len(part) != len(batch):
                raise RuntimeError(f"Input batch size {len(batch)} doesn't match hidden{k} batch size {len(part)}")
            if part.shape[1] != size:
                raise RuntimeError(f"hidden{k} has inconsistent hidden_size: got {part.shape[1]}, expected {size}")
        return State(*given)
