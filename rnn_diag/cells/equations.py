"""What a recurrence is: the equations of one step, their adjoint and their Jacobian, elementwise between products."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from math import isfinite
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

Extreme = Literal["shut", "open"]
"""The two ends of a gate's range: the lower, where it lets nothing pass, and the upper."""


class Role(StrEnum):
    """What a block of a recurrence does to its memory (the cell; without one, the hidden state)."""

    KEEPS = "keeps"
    """Open, it keeps the memory; shut, it wipes it: an LSTM's forget gate."""
    WRITES = "writes"
    """Open, it writes the candidate into the memory: an LSTM's input gate."""
    KEEPS_OR_WRITES = "keeps or writes"
    """One gate for both: open, it keeps; shut, it writes: a GRU's update gate."""
    WRITES_OR_KEEPS = "writes or keeps"
    """One gate for both: open, it writes; shut, it keeps: a minimal gated unit's forget gate."""
    SHOWS = "shows"
    """Open, it shows the memory as the hidden state: an LSTM's output gate."""
    RESETS = "resets"
    """Shut, it hides the state from the candidate: a GRU's reset gate."""
    CANDIDATE = "candidate"
    """What is written: no gate, although it is a block."""


class Gate(NamedTuple):
    """A block of rows of `weight_hh`: its name, the open range that its activation lives in, and what it does.

    Attributes:
        name: The field's word, such as `forget`.
        low, high: Ends of the range; `high` is infinite for an exponential gate.
        role: What it does to the memory; None if not declared: nothing then judges it.
    """

    name: str
    low: float
    high: float
    role: Role | None = None

    @property
    def is_sigmoid(self) -> bool:
        """Whether the block says how much passes, between 0 (shut) and 1 (open)."""
        return (self.low, self.high) == (0.0, 1.0)

    @property
    def is_bounded(self) -> bool:
        """Whether it has two ends to saturate at; an exponential gate has none above."""
        return isfinite(self.low) and isfinite(self.high)

    @property
    def keeps_when(self) -> Extreme | None:
        """The extreme at which it keeps the memory, or None if it has no part in that.

        Example:
            >>> Gate("update", 0.0, 1.0, Role.KEEPS_OR_WRITES).keeps_when
            'open'
            >>> Gate("forget", 0.0, 1.0, Role.WRITES_OR_KEEPS).keeps_when
            'shut'
        """
        if self.role in (Role.KEEPS, Role.KEEPS_OR_WRITES):
            return "open"
        return "shut" if self.role is Role.WRITES_OR_KEEPS else None

    @property
    def writes_when(self) -> Extreme | None:
        """The extreme at which it writes into the memory, or None if it has no part in that."""
        if self.role in (Role.WRITES, Role.WRITES_OR_KEEPS):
            return "open"
        return "shut" if self.role is Role.KEEPS_OR_WRITES else None


class State(NamedTuple):
    """What a recurrence carries from step to step: `hidden [*, B, P]` and, where it has one, `cell [*, B, H]`."""

    hidden: Tensor
    cell: Tensor | None = None

    def where(self, valid: Bool[Tensor, "batch one"], held: State) -> State:
        """Return this state where a step is valid and the one that is held elsewhere."""
        hidden = torch.where(valid, self.hidden, held.hidden)
        if self.cell is None or held.cell is None:
            return State(hidden)
        return State(hidden, torch.where(valid, self.cell, held.cell))


class Step(NamedTuple):
    """One step forward, before the projection that `proj_size` adds.

    Attributes:
        emitted: `[*, B, H]` the new hidden state (with a projection, what it is applied to).
        cell: `[*, B, H]` the new memory cell, or None.
        gates: One activation `[*, B, H]` for each of `Equations.gates`.
        preactivations: One `[*, B, H]` for each of `Equations.blocks`, before the nonlinearity.
        kept: What the adjoint needs besides.
    """

    emitted: Tensor
    cell: Tensor | None
    gates: tuple[Tensor, ...]
    preactivations: tuple[Tensor, ...]
    kept: tuple[Tensor, ...] = ()


class StepAdjoint(NamedTuple):
    """One step backward.

    Attributes:
        projected_grad: `[*, B, G*H]` gradient of the input product `x W_ih^T + b_ih`: the pre-activation gradient.
        recurrent_grad: `[*, B, G*H]` gradient of the recurrent product `h W_hh^T + b_hh`.
        cell_grad: `[*, B, H]` total gradient of the new cell, or None.
        previous_cell_grad: `[*, B, H]` what flows on to the previous cell, or None.
        previous_hidden_grad: `[*, B, H]` what flows to the previous hidden state past the recurrent product, or None.
    """

    projected_grad: Tensor
    recurrent_grad: Tensor
    cell_grad: Tensor | None = None
    previous_cell_grad: Tensor | None = None
    previous_hidden_grad: Tensor | None = None


@dataclass(frozen=True)
class Weights:
    """The parameters of one layer in one direction, under torch's names.

    Attributes:
        weight_ih: `[G*H, I]`.
        weight_hh: `[G*H, P]`, where `P` is `proj_size` or `H`.
        bias_ih, bias_hh: `[G*H]` or None.
        weight_hr: `[P, H]` projection of the hidden state, or None.
        weight_ci, weight_cf, weight_co: `[H]` diagonal peepholes, or None.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None
    weight_hr: Tensor | None = None
    weight_ci: Tensor | None = None
    weight_cf: Tensor | None = None
    weight_co: Tensor | None = None

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Return the names of all parameters, in the order of the fields."""
        return tuple(field.name for field in fields(cls))

    @classmethod
    def from_names(cls, values: Mapping[str, Tensor | None]) -> Weights:
        """Return weights from a mapping of names to parameters; those that do not exist are None or left out."""
        return cls(**values)  # type: ignore[arg-type]

    def present(self) -> dict[str, Tensor]:
        """Return the parameters that exist, by name."""
        values = {name: getattr(self, name) for name in self.names()}
        return {name: value for name, value in values.items() if value is not None}

    def to(self, dtype: torch.dtype) -> Weights:
        """Return detached weights of another dtype."""
        return replace(self, **{name: value.detach().to(dtype) for name, value in self.present().items()})

    def copy(self) -> Weights:
        """Return detached copies, which later optimiser steps leave alone."""
        return replace(self, **{name: value.detach().clone() for name, value in self.present().items()})


class Equations(ABC):
    """The equations of one recurrence.

    Everything that mixes units is a product with a matrix and is done by the caller, for all steps at once where it
    can be: `projected = x W_ih^T + b_ih`, `recurrent = h W_hh^T + b_hh`, and the projection `W_hr`. What is left is
    elementwise, and is written once in each direction: `step` and `adjoint`. Tensors may carry any leading axes.
    """

    name: ClassVar[str]
    blocks: tuple[Gate, ...]
    """The row blocks of `weight_hh`, in torch's order."""
    has_cell: ClassVar[bool] = False
    fused: Callable[..., nn.RNNBase] | None = None
    """Torch's module whose kernel runs these equations, or None."""

    hidden_is_bounded: bool = False
    """Whether no hidden state leaves [-1, 1] when the initial one is inside; a projection can lead out of it."""

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The blocks that gate something; a plain RNN's single block is its hidden state and gates nothing."""
        return self.blocks

    @property
    def by_role(self) -> dict[Role, str]:
        """The names of the blocks by what they do; those that declare no role are left out."""
        return {block.role: block.name for block in self.blocks if block.role is not None}

    @property
    def memory_gate(self) -> str | None:
        """The name of the gate that keeps what was there, or None; its `Gate.keeps_when` says at which extreme."""
        return next((gate.name for gate in self.gates if gate.keeps_when), None)

    @property
    def harmful(self) -> Mapping[tuple[str, Extreme], str]:
        """What it means for a unit to be stuck at a gate's extreme, where that keeps the unit from its work.

        Derived from roles; a recurrence that knows better overrides it. An exponential gate has no end to be stuck at.

        Example:
            >>> from rnn_diag.cells import GRUEquations
            >>> GRUEquations().harmful["update", "open"]
            'nothing is written into the state'
        """
        memory = "memory" if self.has_cell else "state"
        meanings: dict[tuple[str, Extreme], str] = {}
        for gate in self.gates:
            if not gate.is_bounded:
                continue
            if gate.role is Role.SHOWS:
                meanings[gate.name, "shut"] = f"nothing of the {memory} is shown"
            if gate.writes_when:
                meanings[gate.name, _opposite(gate.writes_when)] = f"nothing is written into the {memory}"
            if gate.keeps_when:
                lost = "wiped" if gate.role is Role.KEEPS else "overwritten"
                meanings[gate.name, _opposite(gate.keeps_when)] = f"the {memory} is {lost} at every step"
        return meanings

    def block(self, name: str) -> Gate:
        """Return the block of that name.

        Raises:
            ValueError: If there is none.
        """
        for block in self.blocks:
            if block.name == name:
                return block
        raise ValueError(f"block={name!r}; choices: {', '.join(block.name for block in self.blocks)}")

    def by_block(self, stacked: Tensor, dim: int) -> dict[str, Tensor]:
        """Return the blocks of a tensor whose axis `dim` holds all of them, by name; they are views."""
        parts = stacked.chunk(len(self.blocks), dim)
        return {block.name: part for block, part in zip(self.blocks, parts, strict=True)}

    def recurrent_maps(self, weights: Weights) -> dict[str, Tensor]:
        """Return the recurrent matrix of every block, by name: `W_hh,k [H, H]`; with `proj_size`, `W_hh,k · W_hr`."""
        maps = self.by_block(weights.weight_hh, dim=0)
        return maps if weights.weight_hr is None else {name: w @ weights.weight_hr for name, w in maps.items()}

    @abstractmethod
    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the step that follows `previous`; `projected` and `recurrent` are `[*, B, G*H]`."""

    @abstractmethod
    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return the gradients of one step's arguments.

        Args:
            step: What `step` returned.
            previous: The state that it started from.
            emitted_grad: `[*, B, H]` total gradient of `step.emitted`.
            cell_grad: `[*, B, H]` gradient that reaches `step.cell` from later steps, or None.
            weights: The layer's parameters.
        """

    @abstractmethod
    def jacobian(self, step: Step, previous: State, weights: Weights) -> Float[Tensor, "*batch state state"]:
        """Return the Jacobian `∂s_t/∂s_{t-1}` of the full state, `s = h` or `s = (h, c)`; rows are the new state."""

    def extra_weight_grads(
        self, grads: Mapping[str, Tensor], cells: Tensor, previous_cells: Tensor
    ) -> dict[str, Tensor]:
        """Return the gradients of parameters outside the products (peepholes), from all steps at once.

        Args:
            grads: Pre-activation gradient `[T, B, H]` of each block, by name.
            cells: `[T, B, H]`.
            previous_cells: `[T, B, H]`, the same one step earlier.
        """
        return {}


def _opposite(extreme: Extreme) -> Extreme:
    return "open" if extreme == "shut" else "shut"


def through_sigmoid(grad: Tensor, activation: Tensor) -> Tensor:
    """Return `grad ⊙ a(1-a)`, the gradient before `a = σ(z)`; in one pass, as autograd takes it."""
    before: Tensor = torch.ops.aten.sigmoid_backward(grad, activation)
    return before


def through_tanh(grad: Tensor, activation: Tensor) -> Tensor:
    """Return `grad ⊙ (1-a²)`, the gradient before `a = tanh(z)`; in one pass, as autograd takes it."""
    before: Tensor = torch.ops.aten.tanh_backward(grad, activation)
    return before


def scaled_rows(scale: Float[Tensor, "*batch units"], matrix: Float[Tensor, "units columns"]) -> Tensor:
    """Return `diag(scale) · matrix` for every element of the batch: `[*batch, units, columns]`."""
    return scale.unsqueeze(-1) * matrix


def project(emitted: Tensor, weights: Weights) -> Tensor:
    """Return the hidden state that is fed back and handed on: `W_hr · emitted`, or `emitted` itself."""
    return emitted if weights.weight_hr is None else emitted @ weights.weight_hr.T


def joined_state_jacobian(
    hidden_by_hidden: Tensor, hidden_by_cell: Tensor, cell_by_hidden: Tensor, cell_by_cell: Tensor
) -> Float[Tensor, "*batch state state"]:
    """Return the Jacobian of `(h, c)` from its four blocks, rows being the new state."""
    upper = torch.cat((hidden_by_hidden, hidden_by_cell), dim=-1)
    lower = torch.cat((cell_by_hidden, cell_by_cell), dim=-1)
    return torch.cat((upper, lower), dim=-2)
