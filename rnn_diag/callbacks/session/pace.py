"""How much of the training time measuring takes, and how rarely to measure so that it keeps to its share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter
from typing import Any, NamedTuple

from rnn_diag.callbacks.session.worker import Worker

WARM_UP_MEASUREMENTS = 20
WARM_UP_SECONDS = 30.0
"""Until as many measurements or seconds, whichever come first, nothing is stretched: beginnings are slow."""

FEWEST_CYCLES, MOST_CYCLES = 2, 10
"""How many measurements a share is taken over: one alone may hold a picture, and very old ones say little."""


class Cadence:
    """By how much all intervals are stretched, so that measuring takes at most its share of the time.

    It is decided by what all ranks have agreed on, so they stretch together. Intervals are doubled until that does,
    never halved: a doubled interval has its steps among those of the old one.

    Attributes:
        stretch: What intervals are multiplied by, a power of two.
        measured: Steps measured so far.
        announces: Whether the last decision was the first that stretched.
    """

    def __init__(self, max_overhead: float | None) -> None:
        self.max_overhead = max_overhead
        self.stretch = 1
        self.measured = 0
        self.announces = False
        self._cycles = 0

    def decide(self, share: float, seconds: float) -> bool:
        """Decide at a measured step, before it is measured; return whether the share is to be taken anew from here.

        Args:
            share: Of the time since it was last taken anew, that spent on measuring; the largest of all ranks.
            seconds: Since the beginning; the most of all ranks.
        """
        self.measured += 1
        self.announces = False
        if self.measured <= 2:  # The first measurement is not like the others.
            return True
        self._cycles += 1
        if (
            self.max_overhead is not None
            and self.is_warm(seconds)
            and self._cycles >= FEWEST_CYCLES
            and share > self.max_overhead
        ):
            self.announces = self.stretch == 1
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
        background: Seconds that measuring took in the background, from the processors that train.
    """

    at: float
    spent: float
    background: float = 0.0

    def share_since(self, earlier: Reading) -> float:
        """Return the share of the time since an earlier reading that measuring took, 0 to 1."""
        taken = self.spent + self.background - earlier.spent - earlier.background
        return min(taken / max(self.at - earlier.at, 1e-9), 1.0)


class Overhead:
    """Adds up the time spent inside, against the time since the first use."""

    def __init__(self) -> None:
        self._began: Reading | None = None
        self._spent = 0.0
        self._background = 0.0

    def add_background(self, seconds: float) -> None:
        """Count time that measuring took in the background, from the processors that train."""
        self._background += seconds

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
        return Reading(perf_counter(), self._spent, self._background)

    @property
    def share(self) -> float:
        """Share of the time since the first use, 0 to 1; a block that has not ended does not count."""
        return 0.0 if self._began is None else self.read().share_since(self._began)

    @property
    def seconds(self) -> float:
        """Time since the first use."""
        return 0.0 if self._began is None else perf_counter() - self._began.at


class Shares(NamedTuple):
    """What one rank has spent on measuring.

    Attributes:
        overhead: Share of the training time so far.
        recent: The same since the share was last taken anew.
        seconds: Since the first measured step.
    """

    overhead: float = 0.0
    recent: float = 0.0
    seconds: float = 0.0


class Pace:
    """Times what measuring takes, and stretches intervals, on all ranks alike, so that it keeps to its share.

    Args:
        max_overhead: The share; None for no limit.
    """

    def __init__(self, max_overhead: float | None) -> None:
        self._cadence = Cadence(max_overhead)
        self._overhead = Overhead()
        self._window = self._now = self._overhead.read()

    @property
    def stretch(self) -> int:
        """By how much intervals are stretched."""
        return self._cadence.stretch

    @property
    def spent(self) -> float:
        """Seconds that training waited for measuring so far."""
        return self._overhead.read().spent

    @property
    def share(self) -> float:
        """Share of the training time so far."""
        return self._overhead.share

    @property
    def waits(self) -> bool:
        """Whether training waits for what is computed in the background."""
        return self._cadence.max_overhead is None

    def resume(self, stretch: int) -> None:
        """Stretch by no less than another run did in the end."""
        self._cadence.stretch = max(self._cadence.stretch, stretch)

    def measuring(self) -> AbstractContextManager[None]:
        """Count the time inside the block as spent on measuring."""
        return self._overhead.measuring()

    def read(self) -> Shares:
        """Return what this rank has spent, before a step is measured."""
        self._now = self._overhead.read()
        return Shares(self._overhead.share, self._now.share_since(self._window), self._overhead.seconds)

    def agree(self, ranks: Sequence[Shares]) -> str:
        """Decide, by what all ranks have spent, how rarely to measure; return what is to be told, the first time."""
        if self._cadence.decide(max(rank.recent for rank in ranks), max(rank.seconds for rank in ranks)):
            self._window = self._now
        if not self._cadence.announces or self._cadence.max_overhead is None:
            return ""
        return (
            f"measuring took more than {100 * self._cadence.max_overhead:g}% of the training time; "
            f"intervals are {self._cadence.stretch} times as long from now on, or longer (rnn_diag/every_n_steps)"
        )

    def may_compute(self, worker: Worker[Any], on_cpu: bool) -> bool:
        """Return whether the background may begin: on a CPU it may take half of the share that measuring may take."""
        limit = self._cadence.max_overhead
        if limit is None or not on_cpu or not self._cadence.is_warm(self._overhead.seconds):
            return True
        return worker.has_rested(limit / 2)

    def add_background(self, seconds: float) -> None:
        """Count time that the background took from the processors that train."""
        self._overhead.add_background(seconds)
