"""A profile at each of many training steps, in bounded memory: as it grows too long, every other one is let go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

CAPACITY = 240


class History:
    """Columns of a heat map, oldest first."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.columns: list[Float[np.ndarray, " lags"]] = []
        self.added = 0
        self._every = 1

    @property
    def state(self) -> dict[str, Any]:
        """All there is to it, in tensors and plain types."""
        columns = [torch.from_numpy(column) for column in self.columns]
        return {"steps": list(self.steps), "columns": columns, "added": self.added, "every": self._every}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> History:
        """Return the history whose state it is."""
        history = cls()
        history.steps = list(state["steps"])
        history.columns = [column.numpy() for column in state["columns"]]
        history.added, history._every = state["added"], state["every"]
        return history

    def add(self, step: int, column: Float[np.ndarray, " lags"]) -> None:
        """Keep a column, unless the history has become so long that only every so many are kept."""
        if self.added % self._every == 0:
            self.steps.append(step)
            self.columns.append(np.array(column, dtype=np.float32))
        self.added += 1
        if len(self.steps) > CAPACITY:
            self.steps, self.columns = self.steps[::2], self.columns[::2]
            self._every *= 2
