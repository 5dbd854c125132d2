"""Equations of which only the forward step is written: autograd supplies the adjoint and the Jacobian."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint, Weights, project


class AutogradEquations(Equations):
    """A recurrence for which writing the backward step is not worth it.

    Implement `forward_step`, and set `name` and `blocks`. It is slower than explicit equations, and as exact. The step
    may do anything to one step's tensors (normalise, mix units, use other parameters), as long as input and hidden
    state enter through the two products.

    Example:
        >>> from rnn_diag.cells import Gate, Role
        >>> class MinimalGatedUnit(AutogradEquations):
        ...     name = "minimal_gated_unit"
        ...     blocks = (
        ...         Gate("forget", 0.0, 1.0, Role.WRITES_OR_KEEPS),  # a large one forgets
        ...         Gate("candidate", -1.0, 1.0, Role.CANDIDATE),
        ...     )
        ...     hidden_is_bounded = True
        ...
        ...     def forward_step(self, projected, recurrent, previous, weights):
        ...         z_f, z_n = (projected + recurrent).chunk(2, dim=-1)
        ...         f, n = z_f.sigmoid(), z_n.tanh()
        ...         return Step((1 - f) * previous.hidden + f * n, None, (f, n), (z_f, z_n))
        >>> MinimalGatedUnit().memory_gate, MinimalGatedUnit().harmful["forget", "shut"]
        ('forget', 'nothing is written into the state')
    """

    @abstractmethod
    def forward_step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the step that follows `previous`; differentiable; `kept` is not used."""

    def step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return the forward step, which remembers its two products."""
        return self.forward_step(projected, recurrent, previous, weights)._replace(kept=(projected, recurrent))

    def adjoint(
        self, step: Step, previous: State, emitted_grad: Tensor, cell_grad: Tensor | None, weights: Weights
    ) -> StepAdjoint:
        """Return the gradients of one step's arguments; axes before the batch carry several gradients at once."""
        with torch.enable_grad():
            projected, recurrent, hidden, *cell = _leaves(step, previous)
            new = self.forward_step(projected, recurrent, State(hidden, *cell), weights)
            extra = emitted_grad.shape[: emitted_grad.dim() - new.emitted.dim()]
            grads = [emitted_grad.reshape(-1, *new.emitted.shape)]
            total_cell = None
            if new.cell is not None:
                new_cell_grad = _pulled_back(new.emitted, [new.cell], grads[0])[0]
                if cell_grad is not None:
                    carried = cell_grad.expand(*extra, *new.cell.shape).reshape(-1, *new.cell.shape)
                    new_cell_grad = new_cell_grad + carried
                    grads.append(carried)
                total_cell = new_cell_grad.reshape(*extra, *new.cell.shape)
            outputs = [new.emitted, new.cell][: len(grads)]
            found = [
                sum(parts)
                for parts in zip(
                    *(
                        _pulled_back(output, [projected, recurrent, hidden, *cell], grad)
                        for output, grad in zip(outputs, grads, strict=True)
                        if output is not None
                    ),
                    strict=True,
                )
            ]
        shaped = [grad.reshape(*extra, *grad.shape[1:]) for grad in found if isinstance(grad, Tensor)]
        previous_cell = shaped[3] if len(shaped) > 3 else None
        return StepAdjoint(shaped[0], shaped[1], total_cell, previous_cell, shaped[2])

    def jacobian(self, step: Step, previous: State, weights: Weights) -> Tensor:
        """Return the Jacobian of the full state, one gradient for each of its units."""
        with torch.enable_grad():
            projected, recurrent, hidden, *cell = _leaves(step, previous)
            product = recurrent + (hidden - hidden.detach()) @ weights.weight_hh.T
            new = self.forward_step(projected, product, State(hidden, *cell), weights)
            state = [project(new.emitted, weights)] + ([] if new.cell is None else [new.cell])
            rows = []
            for part in state:
                units = torch.eye(part.shape[-1], dtype=part.dtype, device=part.device)
                seeds = units.view(-1, *([1] * (part.dim() - 1)), part.shape[-1]).expand(-1, *part.shape)
                rows.append(torch.cat(_pulled_back(part, [hidden, *cell], seeds), dim=-1))
        return torch.cat(rows).movedim(0, -2)


def _leaves(step: Step, previous: State) -> list[Tensor]:
    tensors = (*step.kept, previous.hidden, previous.cell)
    return [tensor.detach().clone().requires_grad_() for tensor in tensors if tensor is not None]


def _pulled_back(output: Tensor, inputs: list[Tensor], grads: Tensor) -> list[Tensor]:
    """Return the gradients of `inputs` for each of several gradients of `output`, stacked on a new first axis."""
    empty = [torch.zeros(len(grads), *tensor.shape, dtype=tensor.dtype, device=tensor.device) for tensor in inputs]
    if not output.requires_grad:
        return empty
    found = torch.autograd.grad(output, inputs, grads, retain_graph=True, allow_unused=True, is_grads_batched=True)
    return [zero if grad is None else grad for zero, grad in zip(empty, found, strict=True)]
