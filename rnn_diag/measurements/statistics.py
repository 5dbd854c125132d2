"""What a measurement's numbers are called, and what they say: the one table that tags, charts and words come from."""

from __future__ import annotations

import re
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

    @property
    def pattern(self) -> str:
        """Regular expression that matches the last part of its tags."""
        return "[^/]+".join(map(re.escape, re.split(r"<\w+>", self.name)))

    @property
    def glob(self) -> str:
        """Glob pattern that matches the last part of its tags."""
        return re.sub(r"<\w+>", "*", self.name)
