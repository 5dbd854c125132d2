"""What a recurrent matrix does to a vector in the end (eigenvalues), at once (singular values) and in between."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, overload

import torch
from torch import Tensor

from rnn_diag.diagnostics.numerics.krylov import arnoldi, bidiagonal
from rnn_diag.diagnostics.numerics.numerical_radius import numerical_radius
from rnn_diag.diagnostics.numerics.power_growth import PowerGrowth, largest_power_norm, spectral_radius_bounds

if TYPE_CHECKING:
    from jaxtyping import Complex, Float

KRYLOV_STEPS = 128

_TOLD_APART = 1.1


@dataclass(frozen=True)
class Spectrum:
    """What is known of one recurrent matrix.

    Of a matrix above the exact size the eigenvalues and singular values are those seen from a Krylov space, each with a
    residual. A singular value has one of the matrix's own within its residual, and none lies above the largest of the
    matrix. An eigenvalue is one of a matrix that differs by its residual: unless the matrix is nearly normal, it may
    lie far from all of the matrix's own. `spectral_radius_bounds` hold in any case.

    `numerical_radius` and the transient growth cost several times what all the rest does; they are computed when they
    are first read.

    Attributes:
        eigenvalues: By falling modulus, complex pairs next to each other; not exact: the outermost ones only.
        eigenvalue_residuals: How far from `W` the matrix is that has this eigenvalue, in the spectral norm; 0 if exact.
        singular_values: Falling; not exact: the largest ones only.
        singular_value_residuals: How far the nearest singular value of `W` is at most; 0 if exact.
        spectral_radius: The largest modulus of an eigenvalue: the growth per step in the end. When not exact, an
            estimate within `spectral_radius_bounds`; NaN if these are more than 10 % apart, as they are for most
            matrices of more than 2048 units.
        spectral_radius_bounds: The spectral radius lies between the two, up to rounding errors of `W`.
        henrici: Departure from normality, `sqrt(|W|_F^2 - sum |eigenvalue|^2)`; NaN when not exact. Rounding lets a
            normal matrix depart by about 1e-7 of its norm.
        henrici_normalised: The same divided by `|W|_F`, between 0 (normal) and 1 (nilpotent).
        is_exact: Whether everything is computed from the whole matrix.
        matrix: The matrix itself, in float64 on the CPU.
        max_power: The last power at which transient growth is looked for.
    """

    eigenvalues: Complex[Tensor, " state"]
    eigenvalue_residuals: Float[Tensor, " state"]
    singular_values: Float[Tensor, " state"]
    singular_value_residuals: Float[Tensor, " state"]
    spectral_radius: float
    spectral_radius_bounds: tuple[float, float]
    henrici: float
    henrici_normalised: float
    is_exact: bool
    matrix: Float[Tensor, "state state"] = field(repr=False)
    max_power: int = field(repr=False)

    @cached_property
    def numerical_radius(self) -> float:
        """The largest `|v* W v|` over unit vectors; above 1 some state grows at once. From below when not exact."""
        return numerical_radius(self.matrix, self.is_exact) if self._is_finite else math.nan

    @property
    def transient_growth(self) -> float:
        """The largest `|W^k|_2` over `k >= 0`: how far a state can grow before it decays.

        Infinite when the spectral radius is above 1. See `transient_growth_is_lower_bound`.
        """
        return self._largest_power.norm

    @property
    def transient_step(self) -> int | None:
        """The `k` at which the transient growth is reached, or None when it never is."""
        return self._largest_power.power

    @property
    def transient_growth_is_lower_bound(self) -> bool:
        """Whether the powers may grow further: not all had decayed at `max_power`, or their norms are estimates."""
        return self._largest_power.is_lower_bound

    @cached_property
    def _largest_power(self) -> PowerGrowth:
        if not self._is_finite:
            return PowerGrowth(math.nan, None, False)
        return largest_power_norm(self.matrix, self.spectral_radius_bounds[0], self.max_power, self.is_exact)

    @property
    def _is_finite(self) -> bool:
        return bool(self.matrix.isfinite().all())

    @property
    def spectral_norm(self) -> float:
        """The largest singular value: the largest growth in one step. From below when not exact."""
        return self.singular_values[0].item()


@overload
def recurrent_spectrum(
    weights: Mapping[str, Tensor], exact_up_to: int = ..., max_power: int = ...
) -> dict[str, Spectrum]: ...
@overload
def recurrent_spectrum(weights: Tensor, exact_up_to: int = ..., max_power: int = ...) -> Spectrum: ...
def recurrent_spectrum(
    weights: Mapping[str, Tensor] | Tensor, exact_up_to: int = 512, max_power: int = 256
) -> dict[str, Spectrum] | Spectrum:
    r"""Return the spectrum of a recurrent matrix, or of each gate's by name.

    Eigenvalues tell the end (:math:`\lVert W^k \rVert^{1/k} \to \rho`), singular values bound the beginning
    (:math:`\lVert W \rVert_2 = \sigma_1`), and a matrix that is not normal can grow in between although
    :math:`\rho < 1`. For a gated cell :math:`\rho(W)` says little: judge that by the Jacobian of its full state.

    Everything is computed in float64 on the CPU, whatever the weights are: in some 20 ms for 128 units on one core,
    half a second for 512, three seconds for 1024. The numerical radius and the transient growth, computed when they are
    read, take several times that.

    Args:
        weights: `Trace.recurrent_weights`, any mapping of square matrices, or one matrix.
        exact_up_to: Number of units up to which everything is computed from the whole matrix; larger matrices are seen
            from Krylov spaces, with the bounds that `Spectrum` states.
        max_power: The last power at which transient growth is looked for.

    Returns:
        One spectrum, or one per gate. A matrix with a non-finite entry has a spectrum of NaN.

    Raises:
        ValueError: If a matrix is not square.
        TypeError: If a matrix is no tensor.

    Example:
        >>> spectrum = recurrent_spectrum(torch.tensor([[0.5, 2.0], [0.0, 0.5]]))
        >>> spectrum.spectral_radius, round(spectrum.transient_growth, 2), round(spectrum.henrici, 2)
        (0.5, 2.12, 2.0)

    Reference:
        Trefethen, Embree 2005, Spectra and Pseudospectra, chapters 14-18; Henrici 1962,
        https://doi.org/10.1007/BF01386294; Kerg et al. 2019, https://arxiv.org/abs/1905.12080
    """
    if isinstance(weights, Mapping):
        return {name: _spectrum(name, matrix, exact_up_to, max_power) for name, matrix in weights.items()}
    return _spectrum("weights", weights, exact_up_to, max_power)


def _spectrum(name: str, weights: Tensor, exact_up_to: int, max_power: int) -> Spectrum:
    if not isinstance(weights, Tensor):
        raise TypeError(
            f"{name!r} is of type {type(weights).__name__}; expected a tensor, or a mapping of them by name"
        )
    if weights.dim() != 2 or weights.shape[0] != weights.shape[1] or not len(weights):
        raise ValueError(
            f"{name!r} has shape {tuple(weights.shape)}; expected a square matrix: "
            "one gate's rows of weight_hh, with proj_size times weight_hr (Trace.recurrent_weights holds them)"
        )
    matrix = weights.detach().to("cpu", torch.float64, copy=True)  # Weights may change before all of it is read.
    if not matrix.isfinite().all():
        return _unknown(matrix, max_power)
    return _exact(matrix, max_power) if len(matrix) <= exact_up_to else _from_krylov_spaces(matrix, max_power)


def _exact(matrix: Tensor, max_power: int) -> Spectrum:
    eigenvalues = torch.linalg.eigvals(matrix)
    eigenvalues = eigenvalues[_by_falling_modulus(eigenvalues)]
    radius, norm = eigenvalues[0].abs().item(), matrix.norm().item()
    departure = math.sqrt(max(norm**2 - eigenvalues.abs().square().sum().item(), 0.0))
    nothing = matrix.new_zeros(len(matrix))
    return Spectrum(
        eigenvalues=eigenvalues,
        eigenvalue_residuals=nothing,
        singular_values=torch.linalg.svdvals(matrix),
        singular_value_residuals=nothing,
        spectral_radius=radius,
        spectral_radius_bounds=(radius, radius),
        henrici=departure,
        henrici_normalised=departure / norm if norm else 0.0,
        is_exact=True,
        matrix=matrix,
        max_power=max_power,
    )


def _from_krylov_spaces(matrix: Tensor, max_power: int) -> Spectrum:
    size = len(matrix)
    steps = min(KRYLOV_STEPS, size)
    seen = arnoldi(lambda v: v @ matrix.T, size, steps)
    eigenvalues, vectors = torch.linalg.eig(seen.matrix)
    order = _by_falling_modulus(eigenvalues)
    eigenvalues, outside = eigenvalues[order], vectors[-1, order].abs() * seen.remainder
    bands = bidiagonal(lambda v: v @ matrix.T, lambda u: u @ matrix, batch=1, space=size, steps=steps)
    left, singular_values, _ = torch.linalg.svd(bands.matrix[0])
    bounds = spectral_radius_bounds(matrix, _doublings(size))
    return Spectrum(
        eigenvalues=eigenvalues,
        eigenvalue_residuals=outside,
        singular_values=singular_values,
        singular_value_residuals=left[-1].abs() * bands.remainder,
        spectral_radius=_within(bounds, eigenvalues[0].abs().item()),
        spectral_radius_bounds=bounds,
        henrici=math.nan,
        henrici_normalised=math.nan,
        is_exact=False,
        matrix=matrix,
        max_power=max_power,
    )


def _by_falling_modulus(eigenvalues: Tensor) -> Tensor:
    return eigenvalues.abs().argsort(descending=True, stable=True)


def _doublings(size: int) -> int:
    """Return how many matrix products the bounds may cost: a product takes eight times as long for twice the units."""
    return 10 if size <= 1024 else 8 if size <= 2048 else 3


def _within(bounds: tuple[float, float], estimate: float) -> float:
    """Return the value within the bounds that is closest to an estimate; NaN if they are too far apart to tell."""
    lower, upper = bounds
    return min(max(estimate, lower), upper) if upper <= _TOLD_APART * lower or upper == lower else math.nan


def _unknown(matrix: Tensor, max_power: int) -> Spectrum:
    nan = math.nan
    values = torch.full((len(matrix),), nan, dtype=torch.float64)
    eigenvalues = torch.complex(values, values)
    return Spectrum(eigenvalues, values, values, values, nan, (nan, nan), nan, nan, True, matrix, max_power)
