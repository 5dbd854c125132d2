"""How large the powers of a matrix become before they decay."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ROUNDING = 1e-9


def largest_power_norm(matrix: Tensor, spectral_radius: float, max_power: int, exact: bool) -> tuple[float, int | None]:
    r"""Return :math:`\max_{k \ge 0} \lVert W^k \rVert_2` and the `k` where it is reached.

    Once a power's norm is at most 1 no later one can exceed those before it: norms of products are at most products of
    norms. That, or `max_power`, ends the search.

    Args:
        matrix: `W`, in float64.
        spectral_radius: Its spectral radius. Above 1 the powers grow without end.
        max_power: The last power to look at.
        exact: Whether to form the powers. Otherwise their norms are estimated, from below, by power iteration at
            spaced-out powers.

    Returns:
        Infinity and None when the powers grow without end.

    Example:
        >>> largest_power_norm(torch.tensor([[0.0, 3.0], [0.0, 0.0]]), 0.0, max_power=9, exact=True)
        (3.0, 1)
    """
    if spectral_radius > 1 + _ROUNDING:
        return math.inf, None
    return _of_formed_powers(matrix, max_power) if exact else _of_estimated_powers(matrix, max_power)


def _of_formed_powers(matrix: Tensor, max_power: int) -> tuple[float, int]:
    best, best_power = 1.0, 0
    power = matrix
    for k in range(1, max_power + 1):
        bound = _norm_bound(power)
        if bound <= 1:
            break
        if bound > best:
            norm = torch.linalg.matrix_norm(power, 2).item()
            if norm > best * (1 + _ROUNDING):
                best, best_power = norm, k
            if norm <= 1 + _ROUNDING:
                break
        power = power @ matrix
    return best, best_power


def _norm_bound(matrix: Tensor) -> float:
    """Return an upper bound of the spectral norm that costs no decomposition."""
    size = matrix.abs()
    return min(float(matrix.norm()), math.sqrt(float(size.sum(0).max() * size.sum(1).max())))


def _of_estimated_powers(matrix: Tensor, max_power: int, probes: int = 16, rounds: int = 12) -> tuple[float, int]:
    best, best_power = 1.0, 0
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(len(matrix), probes, generator=generator, dtype=matrix.dtype)
    k = 1
    while k <= max_power:
        for _ in range(rounds):
            directions = torch.linalg.qr(directions).Q
            images = _applied(matrix, directions, k)
            directions = _applied(matrix.T, images, k)
        norm = torch.linalg.matrix_norm(images, 2).item()
        if norm > best:
            best, best_power = norm, k
        if norm <= 1:
            break
        k += max(1, k // 4)
    return best, best_power


def _applied(matrix: Tensor, vectors: Tensor, times: int) -> Tensor:
    for _ in range(times):
        vectors = matrix @ vectors
    return vectors
