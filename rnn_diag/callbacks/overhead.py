"""How much of the training time measuring takes, by the clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Overhead:
    """Adds up the time spent inside, against the time since the first use."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._spent = 0.0

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Count the time inside the block as spent on measuring."""
        started = perf_counter()
        self._began = started if self._began is None else self._began
        try:
            yield
        finally:
            self._spent += perf_counter() - started

    @property
    def percent(self) -> float:
        """Share of the time since the first use, in percent; a block that has not ended does not count."""
        return 0.0 if self._began is None else 100.0 * self._spent / max(perf_counter() - self._began, 1e-9)
