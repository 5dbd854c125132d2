"""Powers of a matrix: how large they become before they decay, and how fast they grow or decay in the end."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_ROUNDING = 1e-9


class PowerGrowth(NamedTuple):
    """The largest norm among the powers of a matrix.

    Attributes:
        norm: The norm; infinite when the powers grow without end.
        power: The power that has it; None when the powers grow without end.
        is_lower_bound: Whether a power may have a larger norm: the search ended before the powers decayed, or their
            norms are estimated.
    """

    norm: float
    power: int | None
    is_lower_bound: bool


def largest_power_norm(matrix: Tensor, spectral_radius: float, max_power: int, exact: bool) -> PowerGrowth:
    r"""Return :math:`\max_{k \ge 0} \lVert W^k \rVert_2` and the `k` where it is reached.

    Once a power's norm is at most 1 no later one can exceed those before it: norms of products are at most products of
    norms. That, or `max_power`, ends the search.

    Args:
        matrix: `W`, in float64.
        spectral_radius: Its spectral radius, or a lower bound of it. Above 1 the powers grow without end.
        max_power: The last power to look at.
        exact: Whether to form the powers. Otherwise their norms are estimated, from below, by power iteration at
            spaced-out powers.

    Example:
        >>> largest_power_norm(torch.tensor([[0.0, 3.0], [0.0, 0.0]]), 0.0, max_power=9, exact=True)
        PowerGrowth(norm=3.0, power=1, is_lower_bound=False)
    """
    if spectral_radius > 1 + _ROUNDING:
        return PowerGrowth(math.inf, None, False)
    return _of_formed_powers(matrix, max_power) if exact else _of_estimated_powers(matrix, max_power)


def spectral_radius_bounds(matrix: Tensor, doublings: int) -> tuple[float, float]:
    r"""Return a lower and an upper bound of the spectral radius, from one high power of the matrix.

    .. math:: \Bigl(\frac{|\operatorname{tr} W^k|}{n}\Bigr)^{1/k} \le \rho(W) \le \lVert W^k \rVert_F^{1/k},
        \qquad k = 1, 2, 4, \dots

    Both hold for any matrix, normal or not, up to rounding: as with any method, what holds is true of a matrix that
    differs from `W` by rounding errors.

    Args:
        matrix: `W`, in float64.
        doublings: How many times the power is doubled; after 8 the bounds of a random matrix are 5 % apart.

    Example:
        >>> spectral_radius_bounds(torch.tensor([[0.0, 3.0], [0.0, 0.0]]), doublings=1)
        (0.0, 0.0)
    """
    power, log_size, exponent = matrix, 0.0, 1
    lower, upper = 0.0, math.inf
    for doubling in range(doublings + 1):
        if doubling:
            power, log_size, exponent = power @ power, 2 * log_size, 2 * exponent
        largest = power.abs().max().item()
        if largest == 0:
            return 0.0, 0.0
        size = largest * (power / largest).norm().item()
        power, log_size = power / size, log_size + math.log(size)
        trace = abs(power.trace().item()) / len(matrix)
        upper = min(upper, math.exp(log_size / exponent))
        if trace > 0:
            lower = max(lower, math.exp((log_size + math.log(trace)) / exponent))
    return lower, upper


def _of_formed_powers(matrix: Tensor, max_power: int) -> PowerGrowth:
    best, best_power, decayed = 1.0, 0, False
    power = matrix
    for k in range(1, max_power + 1):
        bound = _norm_bound(power)
        decayed = bound <= 1
        if bound > best:
            norm = torch.linalg.matrix_norm(power, 2).item()
            if norm > best * (1 + _ROUNDING):
                best, best_power = norm, k
            decayed = norm <= 1 + _ROUNDING
        if decayed:
            break
        power = power @ matrix
    return PowerGrowth(best, best_power, is_lower_bound=not decayed)


def _norm_bound(matrix: Tensor) -> float:
    """Return an upper bound of the spectral norm that costs no decomposition."""
    size = matrix.abs()
    return min(float(matrix.norm()), math.sqrt(float(size.sum(0).max() * size.sum(1).max())))


def _of_estimated_powers(matrix: Tensor, max_power: int, probes: int = 16, rounds: int = 12) -> PowerGrowth:
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
    return PowerGrowth(best, best_power, is_lower_bound=True)


def _applied(matrix: Tensor, vectors: Tensor, times: int) -> Tensor:
    for _ in range(times):
        vectors = matrix @ vectors
    return vectors
