"""What theory predicts: fixed points of a single unit, and the mean field of a large random network."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Final, NamedTuple

import torch
from torch import Tensor

from rnn_diag.arguments import one_of
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


_FUNCTIONS: Final[dict[str, Callable[[float], float]]] = {
    "tanh": math.tanh,
    "sigmoid": lambda z: 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z)),
}
_SLOPES: Final[dict[str, Callable[[float], float]]] = {
    "tanh": lambda z: 1 - math.tanh(z) ** 2,
    "sigmoid": lambda z: _FUNCTIONS["sigmoid"](z) * _FUNCTIONS["sigmoid"](-z),
    "relu": lambda z: float(z >= 0),
}
_PIECES: Final = 2000
_HALVINGS: Final = 60


def fixed_points(nonlinearity: str, weight: float, bias: float = 0.0) -> list[float]:
    """Return every h with `h = φ(w h + b)`, ascending, for tanh or sigmoid.

    The range of φ is cut into pieces, and each in which `φ(w h + b) - h` changes its sign is halved again and again;
    the unit itself is not run. Two solutions closer than a thousandth are not told apart.

    Raises:
        ValueError: If φ is not bounded.

    Example:
        >>> fixed_points("sigmoid", 0.0), [round(h, 5) for h in fixed_points("tanh", 1.5)]
        ([0.5], [-0.85856, 0.0, 0.85856])
    """
    one_of("nonlinearity", nonlinearity, _FUNCTIONS)
    function = _FUNCTIONS[nonlinearity]
    edges = [2 * k / _PIECES - 1 for k in range(_PIECES + 1)]

    def excess(h: float) -> float:
        return function(weight * h + bias) - h

    found = []
    for low, high in pairwise(edges):
        if excess(low) == 0 or excess(low) * excess(high) < 0:
            found.append(_root(excess, low, high))
    return found


def resting_place(nonlinearity: str, weight: float, bias: float, start: float) -> float:
    """Return the fixed point that a unit goes to from a state, or infinity where it grows without bound.

    With a weight that is not negative the unit's map rises, so it goes to the next fixed point above or below.

    Args:
        nonlinearity: sigmoid, tanh or relu.
        weight: Recurrent, not negative.
        bias: Of the unit.
        start: State to start from; not negative for relu.

    Example:
        >>> resting_place("relu", 0.5, 1.0, start=5.0), resting_place("relu", 1.5, 0.0, start=1.0)
        (2.0, inf)
    """
    if nonlinearity == "relu":
        if weight * start + bias == start:
            return start
        if bias <= 0 and weight * start + bias < start:
            return 0.0
        return math.inf if weight >= 1 else bias / (1 - weight)
    points = fixed_points(nonlinearity, weight, bias)
    if _FUNCTIONS[nonlinearity](weight * start + bias) > start:
        return min((h for h in points if h > start), default=math.inf)
    return max((h for h in points if h <= start), default=-math.inf)


def convergence_rate(nonlinearity: str, weight: float, bias: float, rest: float) -> float:
    """Return by what a small distance from a fixed point is multiplied in one step: `w φ'(w h + b)`.

    The slope of a ReLU at 0 is that of its upper side.

    Example:
        >>> convergence_rate("tanh", 0.9, 0.0, rest=0.0)
        0.9
    """
    return weight * _SLOPES[nonlinearity](weight * rest + bias)


def _root(excess: Callable[[float], float], low: float, high: float) -> float:
    sign = excess(low)
    if sign == 0:
        return low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) * sign > 0 else (low, middle)
    return (low + high) / 2
