"""How much a matrix can enlarge what it is applied to at once: the largest |v* W v| over unit vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rnn_diag.diagnostics.numerics.krylov import arnoldi

_ANGLES, _ANGLES_ESTIMATED = 9, 5


def numerical_radius(matrix: Tensor, exact: bool, krylov_steps: int = 48) -> float:
    r"""Return :math:`w(W) = \max_{\lVert v \rVert = 1} |v^* W v|`, the largest modulus in the numerical range.

    It lies between the spectral radius and the spectral norm, and :math:`\lVert W^k \rVert \le 2 w(W)^k`. It is the
    largest eigenvalue of the Hermitian part of :math:`e^{i\theta} W` over all angles; for a real matrix one quadrant
    is enough. Nine angles alone miss by less than half a percent, five by less than two, from below.

    Args:
        matrix: `W`, real, in float64.
        exact: Whether to take whole decompositions and refine the angle; otherwise Lanczos steps at five angles.
        krylov_steps: How many of those.

    Example:
        >>> round(numerical_radius(torch.tensor([[0.0, 1.0], [0.0, 0.0]]).double(), exact=True), 12)
        0.5

    Reference:
        Johnson 1978, https://doi.org/10.1137/0715039
    """
    angles = torch.linspace(0, math.pi / 2, _ANGLES if exact else _ANGLES_ESTIMATED).tolist()
    if not exact:
        return max(_lanczos_estimate(matrix, angle, krylov_steps) for angle in angles)
    best, angle = max((_magnitude(_hermitian_part(matrix, angle)), angle) for angle in angles)
    return _refined(matrix, best, angle)


def _hermitian_part(matrix: Tensor, angle: float) -> Tensor:
    turned = matrix * complex(math.cos(angle), math.sin(angle))
    return (turned + turned.mH) / 2


def _magnitude(hermitian: Tensor) -> float:
    return float(torch.linalg.eigvalsh(hermitian).abs().max())


def _refined(matrix: Tensor, best: float, angle: float, rounds: int = 10) -> float:
    """Turn the angle to where the best vector's own value points until nothing is gained; it never makes it smaller."""
    for _ in range(rounds):
        sizes, vectors = torch.linalg.eigh(_hermitian_part(matrix, angle))
        vector = vectors[:, sizes.abs().argmax()]
        value = complex(torch.vdot(vector, matrix.to(vector.dtype) @ vector))
        gained = abs(value) > best * (1 + 1e-12)
        best, angle = max(best, abs(value)), -math.atan2(value.imag, value.real)
        if not gained:
            break
    return best


def _lanczos_estimate(matrix: Tensor, angle: float, steps: int) -> float:
    """Return the same as `_magnitude`, from below, with complex vectors written as pairs of real ones."""
    size = len(matrix)

    def apply(vectors: Tensor) -> Tensor:
        parts = vectors.view(2, size)
        forward, transposed = parts @ matrix.T, parts @ matrix
        symmetric, skew = (forward + transposed) / 2, (forward - transposed) / 2
        turned = torch.stack((-skew[1], skew[0]))
        return (math.cos(angle) * symmetric + math.sin(angle) * turned).view(1, 2 * size)

    small = arnoldi(apply, 2 * size, min(steps, 2 * size)).matrix
    return _magnitude((small + small.T) / 2)
