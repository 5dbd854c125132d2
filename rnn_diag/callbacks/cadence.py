"""How rarely to measure so that measuring keeps to its share of the training time."""

from __future__ import annotations

import math

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
