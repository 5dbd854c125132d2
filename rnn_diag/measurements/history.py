"""A profile at each of many training steps, in bounded memory: as it grows too long, every other one is dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    from jaxtyping import Float

CAPACITY = 240


class GatesOverTime(NamedTuple):
    """The mean activation of every gate at one training step, in bins of timesteps.

    Attributes:
        values: Between 0 and 1; NaN where it is no number.
        widths: How many timesteps each bin has.

    Example:
        >>> column = GatesOverTime(np.array([[0.5, 0.25]]), np.array([3, 1]))
        >>> GatesOverTime.of(column.stacked).widths.tolist()
        [3.0, 1.0]
    """

    values: Float[np.ndarray, "gates bins"]
    widths: Float[np.ndarray, " bins"]

    @property
    def stacked(self) -> Float[np.ndarray, "rows bins"]:
        """One array, the widths as its last row: a column of a `History`."""
        return np.concatenate([self.values, self.widths[None]])

    @classmethod
    def of(cls, stacked: Float[np.ndarray, "rows bins"]) -> GatesOverTime:
        """Return what was stacked."""
        return cls(stacked[:-1], stacked[-1])


class History:
    """Columns of a heat map, oldest first."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.columns: list[Float[np.ndarray, " lags"]] = []
        self.added = 0
        self._every = 1

    @property
    def state(self) -> dict[str, Any]:
        """Everything it holds, in tensors and plain types, for a checkpoint."""
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
        """Keep a column, unless the history has become so long that only every second, fourth, … is kept."""
        if self.added % self._every == 0:
            self.steps = [*self.steps, step]  # anew, so that a copy stays as it is
            self.columns = [*self.columns, np.array(column, dtype=np.float32)]
        self.added += 1
        if len(self.steps) > CAPACITY:
            self.steps, self.columns = self.steps[::2], self.columns[::2]
            self._every *= 2
