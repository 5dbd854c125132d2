from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rnn_diag.diagnostics.numerics.power_growth import largest_power_norm, spectral_radius_bounds


def shift(size: int) -> Tensor:
    return torch.diag(torch.ones(size - 1, dtype=torch.float64), 1)


def test_a_search_that_ends_before_the_powers_decay_says_so() -> None:
    slow = torch.tensor([[0.999, 1.0], [0.0, 0.999]], dtype=torch.float64)  # its powers grow for 999 steps
    cut = largest_power_norm(slow, 0.999, max_power=100, exact=True)
    assert (cut.power, cut.is_lower_bound) == (100, True)
    fast = torch.tensor([[0.9, 1.0], [0.0, 0.9]], dtype=torch.float64)
    assert largest_power_norm(fast, 0.9, max_power=100, exact=True).is_lower_bound is False


def test_powers_that_never_grow_or_grow_without_end_are_no_lower_bounds() -> None:
    quarter_turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    assert largest_power_norm(quarter_turn, 1.0, max_power=9, exact=True) == (1.0, 0, False)
    assert largest_power_norm(2 * quarter_turn, 2.0, max_power=9, exact=True) == (math.inf, None, False)


def test_estimated_norms_are_lower_bounds() -> None:
    assert largest_power_norm(0.5 * shift(5), 0.0, max_power=9, exact=False).is_lower_bound


@pytest.mark.parametrize("doublings", [0, 1, 5, 8])
def test_the_spectral_radius_lies_within_its_bounds(doublings: int) -> None:
    matrices = [torch.randn(n, n, dtype=torch.float64) * 10.0**n for n in (1, 2, 7, 30)]
    matrices += [torch.randn(9, 9, dtype=torch.float64).triu() * 1e-200, torch.roll(torch.eye(6).double(), 1, 0)]
    for matrix in matrices:
        radius = torch.linalg.eigvals(matrix).abs().max().item()
        lower, upper = spectral_radius_bounds(matrix, doublings)
        assert lower <= radius * (1 + 1e-9)
        assert radius <= upper * (1 + 1e-9)


def test_the_bounds_close_as_powers_double() -> None:
    matrix = torch.randn(40, 40, dtype=torch.float64)
    lower, upper = spectral_radius_bounds(matrix, doublings=12)
    assert upper / lower < 1.005


def test_a_nilpotent_matrix_has_the_radius_zero() -> None:
    assert spectral_radius_bounds(0.9 * shift(200), doublings=8) == (0.0, 0.0)
    assert spectral_radius_bounds(torch.zeros(3, 3, dtype=torch.float64), doublings=0) == (0.0, 0.0)
