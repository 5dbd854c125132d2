"""What the settings of an experiment must be, said in one line where they are not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def expect_numbers(name: str, values: Any, above: float = -math.inf, without: float | None = None) -> None:
    """Refuse what is not a list of at least one finite number.

    Args:
        name: Of the setting.
        values: What was given.
        above: Every number must be larger.
        without: A number that is not allowed.

    Raises:
        TypeError: If the values are no numbers.
        ValueError: If one of them is out of range, or there is none.

    Example:
        >>> expect_numbers("weights", [0.5, "one"])
        Traceback (most recent call last):
        TypeError: weights=[0.5, 'one']; expected numbers
    """
    given = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else [values]
    if not given or not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in given):
        raise TypeError(f"{name}={values!r}; expected numbers")
    bad = [value for value in given if not math.isfinite(value) or value <= above or value == without]
    if bad:
        bound = "" if above == -math.inf else f" above {above:g}"
        other = "" if without is None else f" other than {without:g}"
        raise ValueError(f"{name} has {bad[0]!r}; expected finite numbers{bound}{other}")


def expect_at_least(name: str, value: Any, least: int) -> None:
    """Refuse what is not an integer of at least so much.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is too small.

    Example:
        >>> expect_at_least("steps", 3, 8)
        Traceback (most recent call last):
        ValueError: steps=3; expected an integer of at least 8
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r}; expected an integer of at least {least}")
    if value < least:
        raise ValueError(f"{name}={value!r}; expected an integer of at least {least}")


def expect_among(name: str, values: Sequence[Any], choices: Sequence[Any]) -> None:
    """Refuse a value that is none of the choices.

    Raises:
        ValueError: If there is one, or no value at all.

    Example:
        >>> expect_among("activations", ["tahn"], ["tanh", "relu"])
        Traceback (most recent call last):
        ValueError: activations has 'tahn'; choices: tanh, relu
    """
    unknown = [value for value in values if value not in choices]
    if unknown or not values:
        what = f"has {unknown[0]!r}" if unknown else "is empty"
        raise ValueError(f"{name} {what}; choices: {', '.join(map(str, choices))}")
