"""What measuring takes of the training time, and how far apart measured steps lie so that it keeps to its share."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

from rnn_diag.callbacks.concern import Schedule
from rnn_diag.callbacks.session.worker import Worker

COSTS, STEPS = 5, 21
"""Measured steps by whose median the next is foretold, and other steps by whose median their length is."""

PICTURES = 0.25
"""Part of the share that is for pictures alone: one of them may cost as much as ten measured steps."""

BACKGROUND = 0.25
"""Part of the share that what is computed in the background may take of a CPU that trains."""

NEVER = 10**9
"""Steps; further apart than that they need not lie."""


class Shares(NamedTuple):
    """What one rank says of its time before a step is measured.

    Attributes:
        overhead: Share of the time since the first measured step that measuring took.
        steps: How many steps the next measured one must lie ahead.
    """

    overhead: float = 0.0
    steps: float = 0.0


class Pace:
    """Times what measuring takes, and spreads measured steps, on all ranks alike, so that it keeps to its share.

    A measured step that costs `c` may follow another after `c (1 - m) / (m s)` steps of length `s`, for a share `m`,
    and not before what was spent so far is paid off. Both are known after the first measured step, whose own cost
    (lazy imports, compiling, the check of the whole batch) comes once and is not paid off; by it and its own length,
    both too large, it is decided when to measure next. What was saved up while
    nothing was measured is not spent in a hurry; after a stall, measuring returns to its old pace once that is paid
    off. Pictures have a part of the share for themselves, so that they change no interval.

    Args:
        max_overhead: The share; None for no limit.
        shortest: The shortest interval that was asked for, in steps; longer ones are stretched as much as that is.
        clock: Gives seconds.

    Attributes:
        stretch: What intervals are multiplied by, at least 1; steps stay multiples of the interval that was asked for.
        first: Seconds that the first measured step cost; NaN before the second step.
    """

    def __init__(
        self, max_overhead: float | None, shortest: int = 1, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.max_overhead = max_overhead
        self.stretch = 1.0
        self.first = math.nan
        self._shortest = shortest
        self._clock = clock
        self._inside = self._background = self._pictures = 0.0
        self._costs: deque[float] = deque(maxlen=COSTS)
        self._bare: deque[float] = deque(maxlen=STEPS)
        self._recorded: deque[float] = deque(maxlen=COSTS)
        self._drawn: deque[float] = deque(maxlen=COSTS)
        self._drawn_at = -math.inf
        self._step: _Moment | None = None
        self._measured: _Moment | None = None
        self._began: _Moment | None = None
        self._block: float | None = None
        self._is_measured = False
        self._count = 0
        self._last: dict[int, int] = {}
        self._is_said = False

    @property
    def spent(self) -> float:
        """Seconds that training waited for measuring so far."""
        return self._now().inside

    @property
    def share(self) -> float:
        """Share of the time since the first measured step that all of measuring took, 0 to 1."""
        if self._began is None:
            return 0.0
        now = self._now()
        taken = now.spent + self._unseen() - self._began.spent + now.pictures - self._began.pictures
        return min(taken / max(now.at - self._began.at, 1e-9), 1.0)

    @property
    def waits(self) -> bool:
        """Whether training waits for what is computed in the background."""
        return self.max_overhead is None

    def step_starts(self) -> None:
        """Take the time of the step that ended, and of a measured one what it cost; begin another."""
        now = self._now()
        if self._step is not None:
            waited = now.inside - self._step.inside
            if not self._is_measured or self._count > 1:  # the first step is slow itself
                (self._recorded if self._is_measured else self._bare).append(now.at - self._step.at - waited)
        if self._is_measured and self._count == 1:
            self.first = now.spent + now.pictures
            self._began = now
        self._step, self._is_measured = now, False

    def is_due(self, schedule: Schedule, step: int) -> bool:
        """Return whether a step is far enough from the last that was measured for this schedule."""
        last = self._last.get(schedule.every_n_steps)
        if not schedule.falls_on(step) or last is None or None in (self.max_overhead, schedule.max_overhead):
            return schedule.falls_on(step)
        return step >= last + self.stretch * schedule.every_n_steps - 1e-6

    def measures(self, step: int, schedules: Iterable[Schedule]) -> None:
        """Take note that a step is measured for these."""
        self._last |= {schedule.every_n_steps: step for schedule in schedules}
        self._is_measured = True
        self._count += 1
        now = self._now()
        if self._measured is not None and self._count > 2:
            self._costs.append(now.spent - self._measured.spent)
        self._measured = now

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Count the time inside the block as spent on measuring."""
        self._block = self._clock()
        try:
            yield
        finally:
            self._inside, self._block = self._now().inside, None

    def drew(self, seconds: float) -> None:
        """Count the time that the background took for a picture."""
        self._drawn_at = self._clock()
        self._drawn.append(seconds)
        self._pictures += seconds

    def may_draw(self) -> bool:
        """Return whether there is time for one more picture."""
        if self.max_overhead is None:
            return True
        if self._began is None:
            return False
        share, cost, now = self.max_overhead * PICTURES, max(self._drawn, default=0.0), self._clock()
        saved = share * (now - self._began.at) - (self._pictures - self._began.pictures)
        return cost <= min(saved, share * (now - self._drawn_at))

    def may_compute(self, worker: Worker[Any], on_cpu: bool) -> bool:
        """Return whether the background may begin; on a CPU it takes its time from training."""
        return self.max_overhead is None or not on_cpu or worker.has_rested(self.max_overhead * BACKGROUND)

    def add_background(self, seconds: float) -> None:
        """Count time that the background took from the processors that train."""
        self._background += seconds

    def resume(self, stretch: float) -> None:
        """Stretch as another run did in the end, until the first step is measured."""
        self.stretch = max(self.stretch, stretch)

    def read(self) -> Shares:
        """Return what this rank has spent, and asks for, while a step is measured."""
        return Shares(self.share, self._steps_ahead())

    def agree(self, ranks: Sequence[Shares]) -> str:
        """Decide, by what all ranks have spent, when to measure next; return what is to be told, once."""
        if self.max_overhead is None:
            return ""
        self.stretch = max(1.0, max(rank.steps for rank in ranks) / self._shortest)
        return self.told() if self._count > 2 else ""

    def told(self) -> str:
        """Return in words how rarely is measured, if that was not told before; empty where it is as often as asked."""
        if self._is_said or self.max_overhead is None or self.stretch <= 1 or math.isnan(self.first):
            return ""
        self._is_said = True
        return (
            f"every_n_steps={self._shortest}, measured every {self.interval(self._shortest)}: "
            f"{100 * self.max_overhead:g} % of the time (and {self.first:.2g} s once, for the first measured step)"
        )

    def interval(self, every_n_steps: int) -> int:
        """Return how many steps now lie between two that are measured."""
        return every_n_steps * max(1, math.ceil(self.stretch - 1e-6))

    def _steps_ahead(self) -> float:
        if self.max_overhead is None or self._step is None or self._measured is None:
            return 0.0
        now, share = self._now(), self.max_overhead * (1 - PICTURES)
        outside = now.at - self._step.at - (now.inside - self._step.inside)
        length = median(self._bare or self._recorded or [outside])
        this = now.spent - self._measured.spent
        cost = max(this, median(self._costs or [this])) + self._in_forward()
        owed = cost
        if self._began is not None:
            spent = self._measured.spent - self._began.spent + self._unseen() + cost
            owed = (spent - share * (now.at - self._began.at + cost)) / (1 - share) + cost
        return min(NEVER, max(cost, owed) * (1 - share) / (share * max(length, 1e-9)))

    def _in_forward(self) -> float:
        """Return what recording adds to a step's own time, outside of the blocks."""
        if not self._recorded or not self._bare:
            return 0.0
        return max(0.0, median(self._recorded) - median(self._bare))

    def _unseen(self) -> float:
        return self._in_forward() * max(0, self._count - 1)

    def _now(self) -> _Moment:
        at = self._clock()
        inside = self._inside + (0.0 if self._block is None else at - self._block)
        return _Moment(at, inside, inside + self._background, self._pictures)


class _Moment(NamedTuple):
    """All clocks at one moment.

    Attributes:
        at: Seconds of the clock.
        inside: Seconds that training waited for measuring until then.
        spent: These, and what measuring took in the background, without pictures.
        pictures: Seconds that the background took for pictures.
    """

    at: float
    inside: float
    spent: float
    pictures: float
