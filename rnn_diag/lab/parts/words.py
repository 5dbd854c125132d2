"""How numbers are written in sentences, tables and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def written(value: Any) -> str:
    """Return a value of a table as a person reads it.

    Example:
        >>> [written(value) for value in (12, 0.123456, 1e-30, -2.5, float("inf"), float("nan"), True, None, "tanh")]
        ['12', '0.1235', '1e-30', '−2.5', '∞', 'NaN', 'yes', '', 'tanh']
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        text = "NaN" if math.isnan(value) else "∞" if math.isinf(value) else f"{abs(value):.4g}"
        return f"−{text}" if value < 0 else text
    if isinstance(value, int):
        return str(value).replace("-", "−")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(written, value))
    return str(value)


def named(name: str, *values: float) -> str:
    """Return `name = value, value` for a sentence or a label, which no line break divides.

    Example:
        >>> named("w", -0.9, 1.0).replace("\N{NO-BREAK SPACE}", " ")
        'w = −0.9, 1'
    """
    return f"{name} = {', '.join(map(written, map(float, values)))}".replace(" ", "\N{NO-BREAK SPACE}")


def listed(entries: Sequence[str]) -> str:
    """Return entries as an enumeration.

    Example:
        >>> listed(["1 (tanh)", "2 (relu)", "3 (sigmoid)"])
        '1 (tanh), 2 (relu) and 3 (sigmoid)'
    """
    return " and ".join(filter(None, [", ".join(entries[:-1]), *entries[-1:]]))
