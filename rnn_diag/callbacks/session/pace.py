"""How much of the training time measuring takes, and how rarely to measure so that it keeps to its share."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple

WARM_UP_MEASUREMENTS = 20
WARM_UP_SECONDS = 30.0
"""Until as many measurements or seconds, whichever come first, nothing is stretched: beginnings are slow."""

FEWEST_CYCLES, MOST_CYCLES = 2, 10
"""How many measurements a share is taken over: one alone may hold a picture, and very old ones say little."""


class Cadence:
    """By how much all intervals are stretched, so that measuring takes at most its share of the time.

    It is decided by what all ranks have agreed on, so they stretch together. Intervals are doubled as often as needed,
    never halved: a doubled interval has its steps among those of the old one.

    Attributes:
        stretch: What intervals are multiplied by, a power of two.
        measured: Steps measured so far.
        says_so: Whether the last decision was the first that stretched.
    """

    def __init__(self, max_overhead: float | None) -> None:
        self.max_overhead = max_overhead
        self.stretch = 1
        self.measured = 0
        self.says_so = False
        self._cycles = 0

    def decide(self, share: float, seconds: float) -> bool:
        """Decide at a measured step, before it is measured; return whether the share is to be taken anew from here.

        Args:
            share: Of the time since it was last taken anew, that spent on measuring; the largest of all ranks.
            seconds: Since the beginning; the most of all ranks.
        """
        self.measured += 1
        self.says_so = False
        if self.measured <= 2:  # The first measurement is not like the others.
            return True
        self._cycles += 1
        if (
            self.max_overhead is not None
            and self.is_warm(seconds)
            and self._cycles >= FEWEST_CYCLES
            and share > self.max_overhead
        ):
            self.says_so = self.stretch == 1
            self.stretch *= needed_stretch(share, self.max_overhead)
            self._cycles = 0
        elif self._cycles >= MOST_CYCLES:
            self._cycles = 0
        return self._cycles == 0

    def is_warm(self, seconds: float) -> bool:
        """Return whether the share is kept to by now."""
        return self.measured > WARM_UP_MEASUREMENTS or seconds > WARM_UP_SECONDS


def needed_stretch(share: float, wanted: float) -> int:
    """Return the smallest power of two that, multiplying the time between measurements, brings their share down.

    Example:
        >>> needed_stretch(0.2, 0.02)  # 0.25 of the time between; 16 times as long, 0.0156 of it
        16
    """
    times = share * (1 - wanted) / (wanted * max(1 - share, 1e-3))
    return int(2 ** max(math.ceil(math.log2(times) - 1e-9), 1))


class Reading(NamedTuple):
    """Both clocks at one moment.

    Attributes:
        at: Seconds of the clock.
        spent: Seconds that training waited for measuring until then.
        beside: Seconds that measuring took beside training, from the same processors.
    """

    at: float
    spent: float
    beside: float = 0.0

    def share_since(self, earlier: Reading) -> float:
        """Return the share of the time since an earlier reading that measuring took, 0 to 1."""
        taken = self.spent + self.beside - earlier.spent - earlier.beside
        return min(taken / max(self.at - earlier.at, 1e-9), 1.0)


class Overhead:
    """Adds up the time spent inside, against the time since the first use."""

    def __init__(self) -> None:
        self._began: Reading | None = None
        self._spent = 0.0
        self._beside = 0.0

    def beside(self, seconds: float) -> None:
        """Count time that measuring took beside training, from the same processors."""
        self._beside += seconds

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Count the time inside the block as spent on measuring."""
        started = perf_counter()
        self._began = Reading(started, 0.0) if self._began is None else self._began
        try:
            yield
        finally:
            self._spent += perf_counter() - started

    def read(self) -> Reading:
        """Read both clocks; a block that has not ended does not count."""
        return Reading(perf_counter(), self._spent, self._beside)

    @property
    def share(self) -> float:
        """Share of the time since the first use, 0 to 1; a block that has not ended does not count."""
        return 0.0 if self._began is None else self.read().share_since(self._began)

    @property
    def seconds(self) -> float:
        """Time since the first use."""
        return 0.0 if self._began is None else perf_counter() - self._began.at
