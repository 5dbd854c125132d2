"""Equations of which only the forward step is written: autograd supplies the adjoint and the Jacobian."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from rnn_diag.cells.equations import Equations, State, Step, StepAdjoint
from rnn_diag.cells.weights import Weights


class AutogradEquations(Equations):
    """A recurrence for which writing the backward step is not worth it.

    Implement `forward_step`, and set `name` and `blocks`. It is slower than explicit equations, and as exact. The step
    may do anything to one step's tensors (normalise, mix units), as long as input and hidden state enter through the
    two products. Parameters beyond torch's are declared in `extra_parameters` and read from `weights.extra`.

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
        """Return the gradients of one step's arguments; axes before the batch carry several gradients at once.

        Where gradients are recorded and something given requires one, so do the results: an adjoint can be
        differentiated again.
        """
        again = _is_differentiated_again(*step.kept, *previous, emitted_grad, cell_grad, *weights.present().values())
        with torch.enable_grad():
            arguments = [_cut(tensor, again) for tensor in (*step.kept, *previous) if tensor is not None]
            projected, recurrent, hidden, *cell = arguments
            new = self.forward_step(projected, recurrent, State(hidden, *cell), weights)
            outputs, grads, total = [new.emitted], [emitted_grad], None
            if new.cell is not None:
                (total,) = _pulled_back(outputs, [new.cell], grads, again)
                if cell_grad is not None:
                    outputs, grads, total = [*outputs, new.cell], [*grads, cell_grad], total + cell_grad
            projected_grad, recurrent_grad, hidden_grad, *cell_grads = _pulled_back(outputs, arguments, grads, again)
        return StepAdjoint(projected_grad, recurrent_grad, total, cell_grads[0] if cell_grads else None, hidden_grad)

    def extra_weight_grads(
        self, step: Step, previous: State, adjoint: StepAdjoint, emitted_grad: Tensor, weights: Weights
    ) -> dict[str, Tensor]:
        """Return the gradients of `extra_parameters`, by running all steps at once from the states they had."""
        if not weights.extra:
            return {}
        with torch.enable_grad():
            extra = {name: _cut(value, again=False) for name, value in weights.extra.items()}
            projected, recurrent = step.kept
            new = self.forward_step(projected, recurrent, previous, replace(weights, extra=extra))
            outputs, grads = [new.emitted], [emitted_grad]
            if new.cell is not None and adjoint.cell_grad is not None:
                (shown,) = _pulled_back(outputs, [new.cell], grads, False)
                outputs, grads = [*outputs, new.cell], [*grads, adjoint.cell_grad - shown]
            found = _pulled_back(outputs, list(extra.values()), grads, False)
        return dict(zip(extra, found, strict=True))


def _is_differentiated_again(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def _cut(tensor: Tensor, again: bool) -> Tensor:
    """Return a tensor to differentiate by, cut off from what it was made of; with `again`, only the derivative is."""
    if again and tensor.requires_grad:
        return tensor.view_as(tensor)
    return tensor.detach().clone().requires_grad_()


def _pulled_back(outputs: list[Tensor], inputs: list[Tensor], grads: list[Tensor], again: bool) -> list[Tensor]:
    """Return the gradients of `inputs`; what `grads` have before the axes of `outputs` carries several at once."""
    several = grads[0].shape[: grads[0].dim() - outputs[0].dim()]
    pairs = [(out, grad.expand(*several, *out.shape)) for out, grad in zip(outputs, grads, strict=True)]
    reached = [(out, grad.reshape(-1, *out.shape) if several else grad) for out, grad in pairs if out.requires_grad]
    found: tuple[Tensor | None, ...] = (None,) * len(inputs)
    if reached:
        found = torch.autograd.grad(
            [out for out, _ in reached],
            inputs,
            [grad for _, grad in reached],
            retain_graph=True,
            create_graph=again,
            allow_unused=True,
            is_grads_batched=bool(several),
        )
    return [
        given.new_zeros(*several, *given.shape) if grad is None else grad.reshape(*several, *given.shape)
        for given, grad in zip(inputs, found, strict=True)
    ]
