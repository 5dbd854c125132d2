"""How a vector enters a recurrence: a linear map with its transpose, its weight's gradient and its matrix."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

if TYPE_CHECKING:
    from jaxtyping import Float


class Product(ABC):
    """A map that is linear in its vectors `[*, columns]`, which may carry any leading axes.

    What mixes units in a recurrence is one of these. Engines, Jacobians and spectra ask it, and look at no weight's
    shape: a matrix, a diagonal, blocks, a convolution and a parametrisation differ here alone.
    """

    @abstractmethod
    def shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """Return the shape of the weight that maps `columns` numbers to `rows`."""

    @abstractmethod
    def __call__(self, vectors: Tensor, weight: Tensor, bias: Tensor | None = None) -> Float[Tensor, "*batch rows"]:
        """Return the product, with the bias added."""

    @abstractmethod
    def transposed(self, grads: Tensor, weight: Tensor, columns: int) -> Float[Tensor, "*batch columns"]:
        """Return the gradient of the vectors from that of the product."""

    @abstractmethod
    def weight_grad(self, grads: Tensor, vectors: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of the weight, summed over all leading axes."""

    def bias_grad(self, grads: Tensor) -> Tensor:
        """Return the gradient of the bias, summed over all leading axes."""
        return grads.flatten(0, -2).sum(0)

    def bias_size(self, rows: int) -> int:
        """Return how many numbers the bias has."""
        return rows

    def rows(self, weight: Tensor) -> int:
        """Return how many numbers a product has."""
        return len(weight)

    def matrix(self, weight: Tensor, columns: int) -> Float[Tensor, "rows columns"] | None:
        """Return the map as a dense matrix; None where it has none worth looking at.

        Example:
            >>> Diagonal().matrix(torch.tensor([2.0, 3.0]), columns=2).tolist()
            [[2.0, 0.0], [0.0, 3.0]]
        """
        return self(torch.eye(columns, dtype=weight.dtype, device=weight.device), weight).T


@final
@dataclass(frozen=True)
class Dense(Product):
    """`W v + b` with `W [rows, columns]`: every unit sees every other one."""

    def shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """Return the matrix's."""
        return rows, columns

    def __call__(self, vectors: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return `v W^T + b`."""
        return linear(vectors, weight, bias)

    def transposed(self, grads: Tensor, weight: Tensor, columns: int) -> Tensor:
        """Return `δ W`."""
        return grads @ weight

    def weight_grad(self, grads: Tensor, vectors: Tensor, weight: Tensor) -> Tensor:
        """Return `Σ δ v^T`."""
        return grads.flatten(0, -2).T @ vectors.flatten(0, -2)

    def matrix(self, weight: Tensor, columns: int) -> Tensor:
        """Return the weight itself."""
        return weight


@final
@dataclass(frozen=True)
class Nothing(Product):
    """No product: its weight is a matrix without columns, and only the bias is left.

    A state that enters elementwise, or a state that only a memory carries, has no other map.
    """

    def shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """Return `[rows, 0]`."""
        return rows, 0

    def __call__(self, vectors: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return the bias for every vector, or zeros."""
        return linear(vectors[..., :0], weight, bias)

    def transposed(self, grads: Tensor, weight: Tensor, columns: int) -> Tensor:
        """Return zeros, on the graph of what they are the derivative of."""
        return pad(grads @ weight, (0, columns))

    def weight_grad(self, grads: Tensor, vectors: Tensor, weight: Tensor) -> Tensor:
        """Return the gradient of no numbers."""
        return torch.zeros_like(weight)

    def matrix(self, weight: Tensor, columns: int) -> None:
        """Return None."""


@final
@dataclass(frozen=True)
class Diagonal(Product):
    """`w ⊙ v + b` with `w [rows]`: every unit sees itself alone."""

    def shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """Return one number for each row."""
        return (rows,)

    def __call__(self, vectors: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return `w ⊙ v + b`."""
        return vectors * weight if bias is None else torch.addcmul(bias, vectors, weight)

    def transposed(self, grads: Tensor, weight: Tensor, columns: int) -> Tensor:
        """Return `w ⊙ δ`."""
        return grads * weight

    def weight_grad(self, grads: Tensor, vectors: Tensor, weight: Tensor) -> Tensor:
        """Return `Σ δ ⊙ v`."""
        return (grads * vectors).flatten(0, -2).sum(0)
