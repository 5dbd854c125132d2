"""Checks of a task's constructor arguments: one line with the value, what was expected, and the choices."""

from __future__ import annotations

from collections.abc import Collection


def at_least(name: str, value: int, minimum: int) -> int:
    """Return an integer argument that must not be below `minimum`.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is smaller.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is a {type(value).__name__}; expected an integer of at least {minimum}")
    if value < minimum:
        raise ValueError(f"{name}={value}; expected an integer of at least {minimum}")
    return value


def one_of(name: str, value: str, choices: Collection[str]) -> str:
    """Return a word that must be among `choices`.

    Raises:
        ValueError: If it is not.
    """
    if value not in choices:
        raise ValueError(f"{name}={value!r}; expected one of: {', '.join(choices)}")
    return value
