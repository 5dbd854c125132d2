"""How much of the training time measuring takes, by the clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import NamedTuple


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
