"""What a kind of series is: the type and shape of its tensors, the facts in its description, its rows in an export."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
Row = dict[str, Any]

MOST_NUMBERS = 1 << 20
"""Of one series at one step: far more than any writer of this package writes."""
MOST_LETTERS = 1000
"""Of a name in a description."""
MOST_NAMES = 64


class Fact(NamedTuple):
    """Something that the description of a series says.

    Attributes:
        read: Returns the value if it is one, else raises `ValueError`.
        default: Taken where the description does not say it; None where it must.
    """

    read: Callable[[Any], Any]
    default: Any = None


@dataclass(frozen=True)
class Kind:
    """A kind of series.

    Attributes:
        name: The word in tags and descriptions.
        dtype: Of its tensors, as numpy calls it; `object` for text.
        shape: Of its tensors: lengths, or the names of lengths that vary; `labels` is the number of labels.
        holds: What is in it, for the table of the format.
        rows: Returns the rows of one step for an export; None if it is not exported.
        facts: What its description says besides version, kind and layer.
        refuse: Returns why a tensor of the right type and shape cannot be shown; or nothing.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    holds: str
    rows: Callable[[Array, Mapping[str, Any]], Iterator[Row]] | None
    facts: Mapping[str, Fact] = field(default_factory=dict)
    refuse: Callable[[Array], str] = lambda _: ""

    def facts_in(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts of a description.

        Raises:
            ValueError: If one is missing, or is no such fact.
        """
        found = {}
        for name, fact in self.facts.items():
            if name not in content and fact.default is None:
                raise ValueError(f"{name} is missing")
            try:
                found[name] = fact.read(content[name]) if name in content else fact.default
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        return found

    def trouble_with(self, values: Array, content: Mapping[str, Any]) -> str:
        """Return why what a series holds at one step cannot be shown; empty if it can.

        Example:
            >>> from rnn_diag.tb.kinds.horizon import HORIZON
            >>> HORIZON.trouble_with(np.zeros(2, dtype=np.float32), {})
            'float32 [2]; expected float32 [3]'
        """
        lengths = [len(content["labels"]) if one == "labels" else one for one in self.shape]
        fits = values.ndim == len(lengths) and all(
            length > 0 if isinstance(one, str) else length == one
            for one, length in zip(lengths, values.shape, strict=True)
        )
        if values.dtype.name != self.dtype or not fits:
            expected = ", ".join(map(str, lengths))
            return f"{values.dtype.name} {list(values.shape)}; expected {self.dtype} [{expected}]"
        if values.size > MOST_NUMBERS:
            return f"{values.size} numbers; expected {MOST_NUMBERS} at most"
        return self.refuse(values)


def a_name(value: Any) -> str:
    """Return a text that is not too long, without what UTF-8 cannot hold.

    Raises:
        ValueError: If it is no such text.
    """
    if not isinstance(value, str) or len(value) > MOST_LETTERS:
        raise ValueError(f"{_cut(value)}; expected a text of at most {MOST_LETTERS} letters")
    return value.encode(errors="replace").decode()


def names(value: Any) -> list[str]:
    """Return a list of names.

    Raises:
        ValueError: If it is no such list.
    """
    if not isinstance(value, list) or not 0 < len(value) <= MOST_NAMES:
        raise ValueError(f"{_cut(value)}; expected a list of 1 to {MOST_NAMES} names")
    return [a_name(one) for one in value]


def a_count(value: Any) -> int:
    """Return a whole number that is at least 1.

    Raises:
        ValueError: If it is no such number.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 53:
        raise ValueError(f"{_cut(value)}; expected a whole number, at least 1")
    return value


def ranges(value: Any) -> list[list[float]]:
    """Return pairs of a lowest and a highest value.

    Raises:
        ValueError: If they are no such pairs.
    """
    if not isinstance(value, list) or not all(isinstance(pair, list) and _ascends(pair) for pair in value):
        raise ValueError(f"{_cut(value)}; expected a list of [lowest, highest]")
    return [[float(lowest), float(highest)] for lowest, highest in value[:MOST_NAMES]]


def refuse_widths(values: Array) -> str:
    """Return why the last row is not the timesteps of every bin; or nothing."""
    widths = values[..., -1, :].astype(np.float64)
    return "" if np.isfinite(widths).all() and (widths >= 0).all() else "a bin without a number of timesteps"


def array_of(values: Any) -> Array:
    """Return numbers, from lists, arrays or tensors, as an array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values
    return np.asarray(values)


def table_of(values: Any, name: str, *, rows: int | None = None, columns: int | None = None) -> Array:
    """Return numbers as an array of double precision with two axes.

    Raises:
        ValueError: If they have another shape.
    """
    numbers = array_of(values).astype(np.float64)
    expected = f"[{rows or 'n'}, {columns or 'n'}]"
    fits = numbers.ndim == 2 and numbers.size and rows in (None, numbers.shape[0])
    if not fits or columns not in (None, numbers.shape[-1]):
        raise ValueError(f"{name} has the shape {list(numbers.shape)}; expected {expected}, n at least 1")
    return numbers


def largest_first(values: Array, most: int) -> Array:
    """Return the values of largest modulus in descending order."""
    return values[np.argsort(-np.abs(values), kind="stable")][:most]


def _ascends(pair: list[Any]) -> bool:
    numbers = [one for one in pair if isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one)]
    return len(pair) == len(numbers) == 2 and -1e300 < numbers[0] < numbers[1] < 1e300


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
