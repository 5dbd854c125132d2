"""What a recurrent matrix does to a vector in the end (eigenvalues), at once (singular values) and in between."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import overload

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from rnn_diag.diagnostics.numerics.krylov import arnoldi, bidiagonal
from rnn_diag.diagnostics.numerics.numerical_radius import numerical_radius
from rnn_diag.diagnostics.numerics.power_growth import largest_power_norm

KRYLOV_STEPS = 128


@dataclass(frozen=True)
class Spectrum:
    """What is known of one recurrent matrix.

    `numerical_radius` and the transient growth cost several times what all the rest does; they are computed when they
    are first read.

    Attributes:
        eigenvalues: By falling modulus, complex pairs kept; not exact: the outermost ones only.
        singular_values: Falling; not exact: the largest ones only.
        spectral_radius: The largest modulus: the growth per step in the end.
        henrici: Departure from normality, `sqrt(|W|_F^2 - sum |eigenvalue|^2)`; NaN when not exact. Rounding lets a
            normal matrix depart by about 1e-7 of its norm.
        henrici_normalised: The same divided by `|W|_F`, between 0 (normal) and 1 (nilpotent).
        is_exact: Whether all is computed from the whole matrix; otherwise the largest values are estimates from below.
        matrix: The matrix itself, in float64 on the CPU.
        max_power: Transient growth is looked for among the first so many powers.
    """

    eigenvalues: Complex[Tensor, " state"]
    singular_values: Float[Tensor, " state"]
    spectral_radius: float
    henrici: float
    henrici_normalised: float
    is_exact: bool
    matrix: Float[Tensor, "state state"] = field(repr=False)
    max_power: int = field(repr=False)

    @cached_property
    def numerical_radius(self) -> float:
        """The largest `|v* W v|` over unit vectors; above 1 some state grows at once."""
        return math.nan if math.isnan(self.spectral_radius) else numerical_radius(self.matrix, self.is_exact)

    @property
    def transient_growth(self) -> float:
        """The largest `|W^k|_2` over `k >= 0`: how far a state can grow before it decays.

        Infinite when the spectral radius is above 1.
        """
        return self._largest_power[0]

    @property
    def transient_step(self) -> int | None:
        """The `k` at which the transient growth is reached, or None when it never is."""
        return self._largest_power[1]

    @cached_property
    def _largest_power(self) -> tuple[float, int | None]:
        if math.isnan(self.spectral_radius):
            return math.nan, None
        return largest_power_norm(self.matrix, self.spectral_radius, self.max_power, self.is_exact)

    @property
    def spectral_norm(self) -> float:
        """The largest singular value: the largest growth in one step."""
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

    All is computed in float64 on the CPU, whatever the weights are: some 20 ms for 128 units on one core, half a second
    for 512. The numerical radius and the transient growth, computed when they are read, take several times that.

    Args:
        weights: `Trace.recurrent_weights`, any mapping of square matrices, or one matrix.
        exact_up_to: Up to so many units everything is computed from the whole matrix; above, with Krylov methods.
        max_power: Transient growth is looked for among the first so many powers.

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
    is_exact = len(matrix) <= exact_up_to
    projected, bands = (matrix, matrix) if is_exact else _compressed(matrix)
    eigenvalues = torch.linalg.eigvals(projected)
    eigenvalues = eigenvalues[eigenvalues.abs().argsort(descending=True, stable=True)]
    radius = eigenvalues[0].abs().item()
    norm = matrix.norm().item()
    departure = math.sqrt(max(norm**2 - eigenvalues.abs().square().sum().item(), 0.0)) if is_exact else math.nan
    return Spectrum(
        eigenvalues=eigenvalues,
        singular_values=torch.linalg.svdvals(bands),
        spectral_radius=radius,
        henrici=departure,
        henrici_normalised=departure / norm if norm else 0.0,
        is_exact=is_exact,
        matrix=matrix,
        max_power=max_power,
    )


def _compressed(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return small matrices with nearly the outermost eigenvalues and the largest singular values of a large one."""
    size = len(matrix)
    steps = min(KRYLOV_STEPS, size)
    bands = bidiagonal(lambda v: v @ matrix.T, lambda u: u @ matrix, batch=1, space=size, steps=steps)
    return arnoldi(lambda v: v @ matrix.T, size, steps), bands[0]


def _unknown(matrix: Tensor, max_power: int) -> Spectrum:
    nan = math.nan
    values = torch.full((len(matrix),), nan, dtype=torch.float64)
    return Spectrum(torch.complex(values, values), values, nan, nan, nan, True, matrix, max_power)
