"""What a measurement's numbers are called, and what they say: the one table that tags, charts and words come from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Statistic:
    """One number of a measurement.

    Attributes:
        name: The last part of its tag, `<diagnostic>/<layer>/<name>`; `<gate>`, `<block>`, `<tanh>` or `<i>` in it
            stand for what a layer has several of.
        unit: Of the number, such as `steps`, `log10`, `share`.
        says: What it is, in one sentence without a capital and without a full stop.
        headline: Whether it is shown where there is room for a few numbers only.
        chart: The chart over training that it belongs to, or empty for none.
        vital: The field of the doctor's `Vitals` that holds the same number, or empty for none.

    Example:
        >>> left = Statistic("<gate>/left", "share", "share of activations below `low`", chart="gates shut")
        >>> left.pattern, left.glob
        ('[^/]+/left', '*/left')
    """

    name: str
    unit: str
    says: str
    headline: bool = False
    chart: str = ""
    vital: str = ""

    def named(self, part: str) -> str:
        """Return the name for one of several, such as a gate.

        Example:
            >>> Statistic("<gate>/left", "share", "share of activations below `low`").named("forget")
            'forget/left'
        """
        return re.sub(r"<\w+>", part, self.name)

    @property
    def pattern(self) -> str:
        """Regular expression that matches the last part of its tags."""
        return "[^/]+".join(map(re.escape, re.split(r"<\w+>", self.name)))

    @property
    def glob(self) -> str:
        """Glob pattern that matches the last part of its tags."""
        return re.sub(r"<\w+>", "*", self.name)


def as_markdown(statistics: Mapping[str, Sequence[Statistic]]) -> str:
    """Return a table of all statistics, by the first part of their tags.

    Example:
        >>> print(as_markdown({"speed": [Statistic("mean", "1/s", "mean over steps")]}))
        | Tag | Unit | What it says |
        |---|---|---|
        | `speed/<layer>/mean` | 1/s | mean over steps |
    """
    rows = [
        f"| `{diagnostic}/<layer>/{one.name}` | {one.unit} | {one.says} |"
        for diagnostic, several in statistics.items()
        for one in several
    ]
    return "\n".join(("| Tag | Unit | What it says |", "|---|---|---|", *rows))
