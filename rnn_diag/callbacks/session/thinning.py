"""Which measured steps are written in full, so that an event file stays small however long a run is."""

from __future__ import annotations

import math
from collections.abc import Mapping

FULL = 500
"""Measured steps that are all written; TensorBoard keeps 1000 of a series, by chance, once there are more."""


class Thinning:
    """Chooses steps: the first 500, then 250 in every doubling, and those at which a number changed much.

    Changes are at most as many as the others, so n measured steps write `2 (500 + 250 log2(n / 500))` at most: 4832 of
    a hundred thousand. The last step is written at the end of a run, whatever was chosen.

    Attributes:
        measured: How many steps there were.

    Example:
        >>> thinning = Thinning()
        >>> sum(thinning.chooses({"l0/steps": 7.0}) for _ in range(100_000))
        2391
        >>> thinning.chooses({"l0/steps": 20.0})
        True
    """

    def __init__(self) -> None:
        self.measured = 0
        self._changes = 0
        self._regular = 0
        self._last: dict[str, float] = {}

    def chooses(self, numbers: Mapping[str, float]) -> bool:
        """Return whether the next step is written.

        Args:
            numbers: What is logged of it; what changes by half of itself, by 0.5, or to or from no number, has changed.
        """
        every = 1 << max(0, math.floor(math.log2(max(self.measured, 1) / FULL)) + 1)
        is_regular = self.measured % every == 0
        self.measured += 1
        if is_regular:
            self._regular += 1
        elif self._changes < self._regular and any(
            _differ(value, self._last[name]) for name, value in numbers.items() if name in self._last
        ):
            self._changes += 1
        else:
            return False
        self._last.update(numbers)
        return True


def _differ(one: float, other: float) -> bool:
    if not (math.isfinite(one) and math.isfinite(other)):
        return not (one == other or (math.isnan(one) and math.isnan(other)))
    return abs(one - other) > 0.5 * max(1.0, abs(other))
