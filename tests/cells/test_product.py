"""Every product is linear in its vectors; transpose, weight's gradient and matrix are those of what it computes."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.cells import BlockDiagonal, Convolution, Dense, Diagonal, Nothing, Product, Rotation

PRODUCTS: dict[str, tuple[Product, int]] = {
    "dense": (Dense(), 8),
    "nothing": (Nothing(), 8),
    "diagonal": (Diagonal(), 4),
    "one_head": (BlockDiagonal(1), 8),
    "heads": (BlockDiagonal(2), 12),
    "convolution": (Convolution((1, 2), 3), 8),
    "rotation": (Rotation(), 4),
}
"""With the rows that they give of four columns."""
EXACT = {"rtol": 1e-12, "atol": 1e-12}


@pytest.mark.parametrize("kind", PRODUCTS)
def test_gradients_are_autograds(kind: str) -> None:
    product, rows = PRODUCTS[kind]
    weight = torch.randn(product.shape(rows, 4), dtype=torch.float64).requires_grad_()
    bias = torch.randn(product.bias_size(rows), dtype=torch.float64).requires_grad_()
    vectors = torch.randn(3, 2, 4, dtype=torch.float64).requires_grad_()
    found = product(vectors, weight, bias)
    assert found.shape == (3, 2, rows) and product.rows(weight) == rows
    grads = torch.randn_like(found)
    wanted = torch.autograd.grad(found, (vectors, weight, bias), grads, allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        torch.testing.assert_close(product.transposed(grads, weight, 4), wanted[0], **EXACT)
        torch.testing.assert_close(product.weight_grad(grads, vectors, weight), wanted[1], **EXACT)
        torch.testing.assert_close(product.bias_grad(grads), wanted[2], **EXACT)


@pytest.mark.parametrize("kind", PRODUCTS)
def test_the_matrix_does_what_the_product_does(kind: str) -> None:
    product, rows = PRODUCTS[kind]
    weight, vectors = torch.randn(product.shape(rows, 4)), torch.randn(5, 4)
    matrix = product.matrix(weight, 4)
    if matrix is None:
        assert not product(vectors, weight).any()
    else:
        torch.testing.assert_close(product(vectors, weight), vectors @ matrix.T)
