from __future__ import annotations

import torch

from rnn_diag.diagnostics.numerics.krylov import arnoldi, bidiagonal


def test_krylov_steps_as_many_as_units_lose_nothing() -> None:
    w = torch.randn(9, 9, dtype=torch.float64)
    small = arnoldi(lambda v: v @ w.T, 9, 9).matrix
    moduli = torch.linalg.eigvals(small).abs().sort().values
    torch.testing.assert_close(moduli, torch.linalg.eigvals(w).abs().sort().values, rtol=1e-9, atol=1e-12)
    bands = bidiagonal(lambda v: v @ w.T, lambda u: u @ w, batch=1, space=9, steps=9).matrix[0]
    torch.testing.assert_close(torch.linalg.svdvals(bands), torch.linalg.svdvals(w), rtol=1e-10, atol=1e-12)


def test_krylov_steps_find_every_singular_value_of_multiples_of_the_identity() -> None:
    bands = bidiagonal(lambda v: 0.5 * v, lambda u: 0.5 * u, batch=2, space=4, steps=4).matrix
    torch.testing.assert_close(torch.linalg.svdvals(bands), torch.full((2, 4), 0.5, dtype=torch.float64))


def test_an_eigenvalue_is_that_of_a_matrix_which_differs_by_its_residual() -> None:
    w = torch.randn(30, 30, dtype=torch.float64)
    seen = arnoldi(lambda v: v @ w.T, 30, 8)
    eigenvalues, vectors = torch.linalg.eig(seen.matrix)
    for value, residual in zip(eigenvalues, vectors[-1].abs() * seen.remainder, strict=True):
        distance = torch.linalg.svdvals(w - value * torch.eye(30, dtype=w.dtype))[-1]
        assert distance <= residual * (1 + 1e-9)


def test_within_its_residual_of_a_singular_value_there_is_one_of_the_matrix() -> None:
    w = torch.randn(30, 30, dtype=torch.float64)
    seen = bidiagonal(lambda v: v @ w.T, lambda u: u @ w, batch=1, space=30, steps=8)
    left, values, _ = torch.linalg.svd(seen.matrix[0])
    residuals = left[-1].abs() * seen.remainder
    nearest = (torch.linalg.svdvals(w).unsqueeze(0) - values.unsqueeze(1)).abs().amin(1)
    assert (nearest <= residuals + 1e-12).all()
    assert residuals.max() > 0.01


def test_a_whole_space_leaves_no_remainder() -> None:
    w = torch.randn(5, 5, dtype=torch.float64)
    assert arnoldi(lambda v: v @ w.T, 5, 5).remainder.item() == 0
    assert bidiagonal(lambda v: v @ w.T, lambda u: u @ w, batch=1, space=5, steps=5).remainder.item() == 0
