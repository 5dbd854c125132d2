"""What adjoints and Jacobians are made of: a gradient through a nonlinearity, scaled rows, the blocks of `(h, c)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


def through_sigmoid(grad: Tensor, activation: Tensor) -> Tensor:
    """Return `grad ⊙ a(1-a)`, the gradient before `a = σ(z)`; in one pass, as autograd takes it."""
    before: Tensor = torch.ops.aten.sigmoid_backward(grad, activation)
    return before


def through_tanh(grad: Tensor, activation: Tensor) -> Tensor:
    """Return `grad ⊙ (1-a²)`, the gradient before `a = tanh(z)`; in one pass, as autograd takes it."""
    before: Tensor = torch.ops.aten.tanh_backward(grad, activation)
    return before


def positive(preactivation: Tensor) -> Tensor:
    """Return `z + 1/2` where `z` is not negative and `σ(z)` elsewhere: positive and continuous.

    Example:
        >>> positive(torch.tensor([-800.0, 0.0, 2.0])).tolist()
        [0.0, 0.5, 2.5]
    """
    return torch.where(preactivation >= 0, preactivation + 0.5, preactivation.sigmoid())


def through_positive(grad: Tensor, activation: Tensor) -> Tensor:
    """Return the gradient before `a = positive(z)`."""
    return torch.where(activation >= 0.5, grad, grad * activation * (1 - activation))


EPSILON = 1e-5
"""What is added to a variance before its root is taken, as in torch's layer normalisation."""


def normalised(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return values less their mean over units, over their standard deviation; and one over that, `[*, 1]`.

    Example:
        >>> [round(one, 3) for one in normalised(torch.tensor([1.0, 3.0]))[0].tolist()]
        [-1.0, 1.0]
    """
    centred = values - values.mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + EPSILON).rsqrt()
    return centred * scale, scale


def through_normalised(grad: Tensor, result: Tensor, scale: Tensor) -> Tensor:
    """Return the gradient before `result, scale = normalised(values)`."""
    shared = grad.mean(-1, keepdim=True) + result * (grad * result).mean(-1, keepdim=True)
    return scale * (grad - shared)


def scaled_rows(scale: Float[Tensor, "*batch units"], matrix: Float[Tensor, "units columns"]) -> Tensor:
    """Return `diag(scale) · matrix` for every element of the batch: `[*batch, units, columns]`."""
    return scale.unsqueeze(-1) * matrix


def joined_state_jacobian(
    hidden_by_hidden: Tensor, hidden_by_cell: Tensor, cell_by_hidden: Tensor, cell_by_cell: Tensor
) -> Float[Tensor, "*batch state state"]:
    """Return the Jacobian of `(h, c)` from its four blocks, rows being the new state."""
    upper = torch.cat((hidden_by_hidden, hidden_by_cell), dim=-1)
    lower = torch.cat((cell_by_hidden, cell_by_cell), dim=-1)
    return torch.cat((upper, lower), dim=-2)
