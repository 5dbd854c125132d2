"""Where a single unit without input comes to rest: the solutions of h = φ(w h + b), and how fast it gets there."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from rnn_diag.arguments import one_of

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
