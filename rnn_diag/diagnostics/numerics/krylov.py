"""Extreme eigenvalues and singular values of an operator that can only be applied: Arnoldi, and Golub and Kahan."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

Operator = Callable[[Tensor], Tensor]
"""Applies a linear map to every vector of a batch, `[batch, space]` to `[batch, space]`."""

_EXHAUSTED = 1e-13  # A remainder that is this small relative to the vector it was left of is rounding.


class Projected(NamedTuple):
    """An operator as seen from a Krylov space, in orthonormal bases.

    Attributes:
        matrix: The small matrix.
        remainder: Length of the part of the last image that lies outside the space.
    """

    matrix: Float[Tensor, "*batch steps steps"]
    remainder: Float[Tensor, "*batch"]


def arnoldi(apply: Operator, space: int, steps: int) -> Projected:
    r"""Return the operator as seen from the Krylov space of a fixed random vector.

    The small matrix's numerical range lies inside the operator's. An eigenvalue :math:`\theta` of it, with eigenvector
    :math:`y` of length 1, is an eigenvalue of an operator that differs by :math:`|y_{last}|` times the remainder. If
    the operator is not normal, all of its own eigenvalues may be far from it. With as many steps as the space has
    dimensions nothing is lost.

    Reference:
        Saad 2011, Numerical Methods for Large Eigenvalue Problems, section 6.2, https://doi.org/10.1137/1.9781611970739
    """
    basis = _random(1, space)
    basis = basis / basis.norm()
    columns = []
    for step in range(steps):
        image = apply(basis[-1:])
        column = image @ basis.T
        columns.append(torch.cat((column, column.new_zeros(1, steps - step - 1)), dim=1))
        following, size = _next_direction(image.unsqueeze(1), basis.unsqueeze(0), image.norm(dim=-1, keepdim=True))
        if step + 1 < steps:
            columns[-1][0, step + 1] = size
            basis = torch.cat((basis, following[0]))
    return Projected(torch.cat(columns).T, size[0] if steps < space else torch.zeros_like(size[0]))


def bidiagonal(
    apply: Operator,
    apply_transposed: Operator,
    batch: int,
    space: int,
    steps: int,
    device: torch.device | None = None,
) -> Projected:
    r"""Return, for every operator of a batch, a bidiagonal matrix whose singular values approach its extreme ones.

    The largest is approached from below and the smallest from above. Within :math:`|u_{last}|` times the remainder of
    each, :math:`u` being its left singular vector, the operator has a singular value. With as many steps as the space
    has dimensions they are exact, to rounding errors of the largest.

    Reference:
        Golub, Kahan 1965, https://doi.org/10.1137/0702016
    """
    right = _random(batch, space).to(device).unsqueeze(1)
    right = right / right.norm(dim=-1, keepdim=True)
    left = right[:, :0]
    matrix: Tensor = right.new_zeros(batch, steps, steps)
    largest = right.new_zeros(batch, 1)
    for step in range(steps):
        image = apply(right[:, -1])
        largest = torch.maximum(largest, image.norm(dim=-1, keepdim=True))
        following, size = _next_direction(image.unsqueeze(1), left, largest)
        matrix[:, step, step] = size
        left = torch.cat((left, following), dim=1)
        if step + 1 == space:
            return Projected(matrix, torch.zeros_like(size))
        image = apply_transposed(left[:, -1])
        following, size = _next_direction(image.unsqueeze(1), right, largest)
        if step + 1 < steps:
            matrix[:, step, step + 1] = size
            right = torch.cat((right, following), dim=1)
    return Projected(matrix, size)


def _next_direction(vector: Tensor, basis: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the direction `[batch, 1, space]` of what the basis leaves of a vector, and its length `[batch]`.

    Where nothing but rounding is left the length is 0 and the direction any other one outside the basis.
    """
    rest = _without(vector, basis)
    size = rest.norm(dim=-1).squeeze(-1)
    exhausted = size <= _EXHAUSTED * scale.squeeze(-1)
    other = _without(
        _random(len(vector), vector.shape[-1], seed=basis.shape[1] + 1).to(basis.device).unsqueeze(1), basis
    )
    direction = torch.where(exhausted.view(-1, 1, 1), other, rest)
    length = direction.norm(dim=-1, keepdim=True)
    # In a full space there is no other direction: what is left of it is zero, and stays so.
    direction = torch.where(length > _EXHAUSTED, direction, 0.0) / torch.where(length > 0, length, 1.0)
    return direction, torch.where(exhausted, 0.0, size)


def _without(vector: Tensor, basis: Tensor) -> Tensor:
    once: Tensor = vector - (vector @ basis.mT) @ basis
    rounding: Tensor = (once @ basis.mT) @ basis
    return once - rounding


def _random(batch: int, space: int, seed: int = 0) -> Tensor:
    """Return Gaussian vectors from a generator of their own: measuring must not move the process's."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, space, generator=generator, dtype=torch.float64)
