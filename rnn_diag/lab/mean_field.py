"""What a large random network driven by noise is expected to do: how large its states are, how influence fades."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import torch
from torch import Tensor

from rnn_diag.cells.rnn import NONLINEARITIES

_WIDEST: Final = 8.0
_POINTS: Final = 800  # None of them at 0, where a ReLU has two slopes.
_ROUNDS: Final = 1000
_PRECISION: Final = 1e-10
_LARGEST: Final = 1e6


class MeanField(NamedTuple):
    """The expected behaviour of infinitely many units.

    Attributes:
        variance: Of the pre-activations; infinite where they grow without bound.
        gain: What the Frobenius norm of a state's dependence on an earlier one is multiplied by per step.
    """

    variance: float
    gain: float

    def steps_to(self, share: float) -> float:
        """Return after how many steps that share of the influence is left; infinite where it does not fade."""
        return math.log(share) / math.log(self.gain) if self.gain < 1 else math.inf


def mean_field(nonlinearity: str, radius: float, noise: float) -> MeanField:
    r"""Return the mean-field theory of :math:`h_t = φ(W h_{t-1} + x_t)`.

    The entries of W are independent normal with variance :math:`ρ^2 / N`, those of the input with variance
    :math:`σ^2`. With N growing, pre-activations are normal with the variance that solves

    .. math:: q = ρ^2 \, E[φ(\sqrt q\, ξ)^2] + σ^2, \qquad
        \frac{\lVert \partial h_t / \partial h_{t-τ} \rVert_F}{\sqrt N} \to \bigl(ρ^2 E[φ'(\sqrt q\, ξ)^2]\bigr)^{τ/2}

    Args:
        nonlinearity: tanh, relu, sigmoid or identity.
        radius: ρ, to which the spectral radius of W comes near.
        noise: σ.

    Example:
        >>> field = mean_field("relu", 1.0, 0.5)  # half of the units are silent
        >>> round(field.gain, 3), round(field.variance, 3), round(field.steps_to(0.5), 3)
        (0.707, 0.5, 2.0)

    Reference:
        Sompolinsky, Crisanti, Sommers 1988, https://doi.org/10.1103/PhysRevLett.61.259; Chen, Pennington,
        Schoenholz 2018, https://arxiv.org/abs/1806.05394
    """
    phi = NONLINEARITIES[nonlinearity]
    normal = torch.linspace(-_WIDEST, _WIDEST, _POINTS, dtype=torch.float64)
    density = torch.exp(-normal.square() / 2)
    density = density / density.sum()

    def squared(values: Tensor) -> float:
        return float((density * values.square()).sum())

    variance = noise**2
    for _ in range(_ROUNDS):
        before = variance
        variance = min(radius**2 * squared(phi.function(math.sqrt(variance) * normal)) + noise**2, _LARGEST)
        if abs(variance - before) <= _PRECISION * variance:
            break
    slopes = phi.slope(phi.function(math.sqrt(variance) * normal))
    return MeanField(math.inf if variance >= _LARGEST else variance, radius * math.sqrt(squared(slopes)))
