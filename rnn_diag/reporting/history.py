"""A profile at each of many training steps, in bounded memory: as it grows too long, every other one is let go."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

CAPACITY = 240


class History:
    """Columns of a heat map, oldest first."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.columns: list[Float[np.ndarray, " lags"]] = []
        self.added = 0
        self._every = 1

    def add(self, step: int, column: Float[np.ndarray, " lags"]) -> None:
        """Keep a column, unless the history has become so long that only every so many are kept."""
        if self.added % self._every == 0:
            self.steps.append(step)
            self.columns.append(np.asarray(column, dtype=np.float32))
        self.added += 1
        if len(self.steps) > CAPACITY:
            self.steps, self.columns = self.steps[::2], self.columns[::2]
            self._every *= 2
