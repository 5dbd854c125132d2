"""Checks of what users pass: one form of error, `name=value; expected …; choices: …`."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Iterable, Sequence
from numbers import Real
from typing import Any


def whole(name: str, value: Any, at_least: int | None = None, otherwise: str = "") -> int:
    """Return a whole number as an integer.

    Args:
        name: What the argument is called, for the error.
        value: What was passed: an integer of Python, numpy or torch.
        at_least: The smallest number allowed.
        otherwise: What else would have been accepted, for the error: `None for the whole batch`.

    Raises:
        TypeError: If it is not whole.
        ValueError: If it is too small.

    Example:
        >>> whole("k", 2.5)
        Traceback (most recent call last):
        TypeError: k=2.5; expected a whole number
        >>> whole("steps", 3, at_least=8)
        Traceback (most recent call last):
        ValueError: steps=3; expected a whole number of at least 8
    """
    bound = "" if at_least is None else f" of at least {at_least}"
    expected = f"expected a whole number{bound}{_or(otherwise)}"
    try:
        index = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}={value!r}; {expected}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name}={value!r}; {expected}")
    if at_least is not None and index < at_least:
        raise ValueError(f"{name}={value!r}; {expected}")
    return index


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
    otherwise: str = "",
) -> float:
    """Return a finite number within bounds.

    Args:
        name: What the argument is called, for the error.
        value: What was passed.
        above: The number must be larger.
        at_least: It must not be smaller.
        below: It must be smaller.
        at_most: It must not be larger.
        otherwise: What else would have been accepted, for the error.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is out of bounds, or not finite.

    Example:
        >>> number("threshold", 0, above=0, at_most=1)
        Traceback (most recent call last):
        ValueError: threshold=0; expected a finite number above 0 and at most 1
    """
    words = (("above", above), ("of at least", at_least), ("below", below), ("at most", at_most))
    bounds = " and ".join(f"{word} {bound:g}" for word, bound in words if bound is not None)
    expected = f"expected a finite number{bounds and f' {bounds}'}{_or(otherwise)}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}={value!r}; {expected}")
    low, high = (-math.inf if above is None else above), (math.inf if below is None else below)
    least, most = (-math.inf if at_least is None else at_least), (math.inf if at_most is None else at_most)
    given = float(value)
    if not (low < given < high and least <= given <= most):
        raise ValueError(f"{name}={value!r}; {expected}")
    return given


def numbers(name: str, values: Any, above: float = -math.inf, below: float = math.inf, without: Any = None) -> None:
    """Refuse what is not a list of at least one finite number.

    Args:
        name: What the argument is called, for the error.
        values: What was passed.
        above: Every number must be larger.
        below: Every number must be smaller.
        without: A number that is not allowed.

    Raises:
        TypeError: If the values are no numbers.
        ValueError: If one of them is out of bounds.

    Example:
        >>> numbers("weights", [0.5, "one"])
        Traceback (most recent call last):
        TypeError: weights=[0.5, 'one']; expected finite numbers
        >>> numbers("weights", [0.5, -1.0], above=0)
        Traceback (most recent call last):
        ValueError: weights=[0.5, -1.0]; expected finite numbers above 0
    """
    words = (("above", above, -math.inf), ("below", below, math.inf), ("other than", without, None))
    bounds = " and ".join(f"{word} {bound:g}" for word, bound, none in words if bound != none)
    error = f"{name}={values!r}; expected finite numbers{bounds and f' {bounds}'}"
    given = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else [values]
    if not given or not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in given):
        raise TypeError(error)
    if not all(math.isfinite(value) and above < value < below and value != without for value in given):
        raise ValueError(error)


def one_of(name: str, value: Any, choices: Collection[Any]) -> Any:
    """Return a value that must be among `choices`.

    Raises:
        ValueError: If it is not.

    Example:
        >>> one_of("backend", "cudnn", ["auto", "fused"])
        Traceback (most recent call last):
        ValueError: backend='cudnn'; choices: auto, fused
    """
    if value not in choices:
        raise ValueError(f"{name}={value!r}; choices: {', '.join(map(str, choices))}")
    return value


def some_of(name: str, values: Iterable[Any], choices: Collection[Any]) -> list[Any]:
    """Return the values, each of which must be among `choices`; at least one.

    Raises:
        ValueError: If one of them is not, or there is none.

    Example:
        >>> some_of("activations", [], ["tanh", "relu"])
        Traceback (most recent call last):
        ValueError: activations=[]; expected at least one; choices: tanh, relu
    """
    chosen = [one_of(name, value, choices) for value in values]
    if not chosen:
        raise ValueError(f"{name}=[]; expected at least one; choices: {', '.join(map(str, choices))}")
    return chosen


def thresholds(low: float, high: float) -> tuple[float, float]:
    """Return the two thresholds of a gate, below the lower of which it counts as shut and above the upper as open.

    Raises:
        ValueError: Unless `0 <= low < high <= 1`.
    """
    if not 0 <= low < high <= 1:
        raise ValueError(f"low={low!r}, high={high!r}; expected 0 <= low < high <= 1")
    return low, high


def _or(otherwise: str) -> str:
    return f", or {otherwise}" if otherwise else ""
