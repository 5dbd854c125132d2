"""A number of things, which is whole: what else was given is named."""

from __future__ import annotations

import operator
from typing import SupportsIndex


def whole(name: str, value: SupportsIndex) -> int:
    """Return a number of things as an integer.

    Args:
        name: What the number is called, for the error.
        value: The number.

    Raises:
        TypeError: If it is not whole.

    Example:
        >>> whole("k", 2.5)
        Traceback (most recent call last):
        ...
        TypeError: k is 2.5; expected a whole number
    """
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; expected a whole number") from None
