"""How a vector enters a recurrence: a linear map with its transpose, its weight's gradient and its matrix."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, linear, pad
from torch.nn.grad import conv2d_weight

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


@final
@dataclass(frozen=True)
class BlockDiagonal(Product):
    """Units of one head see each other, and none of another head: `W [rows, columns / heads]`.

    Attributes:
        heads: How many there are; it divides the columns.
    """

    heads: int

    def shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """Return one row for each unit of each block, with the weights of its own head's units.

        Raises:
            ValueError: If the heads do not divide the columns.
        """
        if columns % self.heads:
            raise ValueError(f"heads={self.heads}; expected a divisor of the {columns} hidden units")
        return rows, columns // self.heads

    def __call__(self, vectors: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return every head's product."""
        product: Tensor = torch.einsum("ghoi,...hi->...gho", self._by_head(weight), self._heads(vectors)).flatten(-3)
        return product if bias is None else product + bias

    def transposed(self, grads: Tensor, weight: Tensor, columns: int) -> Tensor:
        """Return every head's product with the transpose."""
        by_head = self._by_head(weight)
        found: Tensor = torch.einsum("ghoi,...gho->...hi", by_head, self._as_rows(grads, by_head)).flatten(-2)
        return found

    def weight_grad(self, grads: Tensor, vectors: Tensor, weight: Tensor) -> Tensor:
        """Return `Σ δ v^T` of every head."""
        rows, given = self._as_rows(grads, self._by_head(weight)), self._heads(vectors)
        found: Tensor = torch.einsum("ngho,nhi->ghoi", rows.flatten(0, -4), given.flatten(0, -3))
        return found.reshape(weight.shape)

    def _heads(self, vectors: Tensor) -> Tensor:
        return vectors.reshape(*vectors.shape[:-1], self.heads, -1)

    def _by_head(self, weight: Tensor) -> Tensor:
        """Return `[blocks, heads, units, units]`."""
        units = weight.shape[1]
        return weight.view(-1, self.heads, units, units)

    def _as_rows(self, grads: Tensor, by_head: Tensor) -> Tensor:
        return grads.reshape(*grads.shape[:-1], *by_head.shape[:3])


@final
@dataclass(frozen=True)
class Rotation(Product):
    r"""Complex eigenvalues on complex numbers: :math:`λ ⊙ v`, with :math:`λ = \exp(-e^ν + i e^θ)` inside the unit disc.

    A vector holds the real parts of `N` numbers, then their imaginary parts; the weight `[2, N]` holds ν, then θ.
    """

    def shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """Return two numbers for each eigenvalue.

        Raises:
            ValueError: If the columns are odd: a complex number takes two units.
        """
        if columns % 2:
            raise ValueError(f"hidden_size={columns}; expected an even number, for real and imaginary parts")
        return 2, columns // 2

    def __call__(self, vectors: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return the rotated and shrunk numbers."""
        product = real_parts(self.eigenvalues(weight) * complex_of(vectors))
        return product if bias is None else product + bias

    def transposed(self, grads: Tensor, weight: Tensor, columns: int) -> Tensor:
        """Return the product with the conjugate."""
        return real_parts(self.eigenvalues(weight).conj() * complex_of(grads))

    def weight_grad(self, grads: Tensor, vectors: Tensor, weight: Tensor) -> Tensor:
        r"""Return the gradients of ν and θ: :math:`∂λ/∂ν = -e^ν λ`, :math:`∂λ/∂θ = i e^θ λ`."""
        of_product = (complex_of(grads) * (self.eigenvalues(weight) * complex_of(vectors)).conj()).flatten(0, -2).sum(0)
        shrinking, turning = weight.exp()
        return torch.stack((-shrinking * of_product.real, turning * of_product.imag))

    def rows(self, weight: Tensor) -> int:
        """Return two for each eigenvalue."""
        return weight.numel()

    @staticmethod
    def eigenvalues(weight: Tensor) -> Tensor:
        """Return the complex λ, one for each two units."""
        shrinking, turning = weight.exp()
        return torch.polar((-shrinking).exp(), turning)


def complex_of(vectors: Tensor) -> Tensor:
    """Return the complex numbers whose real parts, then imaginary parts, a vector holds.

    Example:
        >>> complex_of(torch.tensor([1.0, 2.0, 3.0, 4.0]))
        tensor([1.+3.j, 2.+4.j])
    """
    return torch.complex(*vectors.chunk(2, dim=-1))


def real_parts(numbers: Tensor) -> Tensor:
    """Return the real parts, then the imaginary parts: the inverse of `complex_of`."""
    return torch.cat((numbers.real, numbers.imag), dim=-1)


@final
@dataclass(frozen=True)
class Convolution(Product):
    """A convolution of an image with zeros around it; a vector holds one channel's pixels after the other's.

    Attributes:
        size: Height and width.
        kernel: Height and width of the kernel, odd.
    """

    size: tuple[int, int]
    kernel: int

    LARGEST: ClassVar[int] = 1024
    """Columns up to which the dense matrix is worth looking at: its spectrum takes seconds from there on."""

    @property
    def pixels(self) -> int:
        """How many there are in an image."""
        return self.size[0] * self.size[1]

    def shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """Return torch's shape of a convolution's weight.

        Raises:
            ValueError: If the columns are no whole number of images.
        """
        if columns % self.pixels:
            raise ValueError(
                f"{columns} numbers a step; expected a multiple of the {self.pixels} pixels of images {self.size}"
            )
        return rows // self.pixels, columns // self.pixels, self.kernel, self.kernel

    def __call__(self, vectors: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return the convolved images, flat."""
        return self._flat(conv2d(self._images(vectors), weight, bias, padding=self.kernel // 2), vectors)

    def transposed(self, grads: Tensor, weight: Tensor, columns: int) -> Tensor:
        """Return the transposed convolution."""
        return self._flat(conv_transpose2d(self._images(grads), weight, padding=self.kernel // 2), grads)

    def weight_grad(self, grads: Tensor, vectors: Tensor, weight: Tensor) -> Tensor:
        """Return the correlation of images and gradients."""
        images, of_product = self._images(vectors), self._images(grads)
        found: Tensor = conv2d_weight(images, weight.shape, of_product, padding=self.kernel // 2)
        return found

    def bias_grad(self, grads: Tensor) -> Tensor:
        """Return the sum over all pixels, too."""
        return self._images(grads).sum((0, 2, 3))

    def bias_size(self, rows: int) -> int:
        """Return one number for each channel."""
        return rows // self.pixels

    def rows(self, weight: Tensor) -> int:
        """Return the pixels of all channels."""
        return len(weight) * self.pixels

    def matrix(self, weight: Tensor, columns: int) -> Tensor | None:
        """Return the dense matrix, borders included; None of a large image."""
        return super().matrix(weight, columns) if columns <= self.LARGEST else None

    def _images(self, vectors: Tensor) -> Tensor:
        return vectors.reshape(-1, vectors.shape[-1] // self.pixels, *self.size)

    def _flat(self, images: Tensor, like: Tensor) -> Tensor:
        return images.reshape(*like.shape[:-1], -1)
