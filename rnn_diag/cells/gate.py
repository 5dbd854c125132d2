"""A block of a recurrence: its name, its range and its role."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Literal, NamedTuple

from torch import Tensor
from torch.nn.functional import logsigmoid

Extreme = Literal["shut", "open"]
"""The two ends of a gate's range: the lower, where it lets nothing pass, and the upper."""


class Role(StrEnum):
    """What a block of a recurrence does to its memory (the cell; without one, the hidden state)."""

    KEEPS = "keeps"
    """Open, it keeps the memory; shut, it wipes it: an LSTM's forget gate."""
    WRITES = "writes"
    """Open, it writes the candidate into the memory: an LSTM's input gate."""
    KEEPS_OR_WRITES = "keeps or writes"
    """One gate for both: open, it keeps; shut, it writes: a GRU's update gate."""
    WRITES_OR_KEEPS = "writes or keeps"
    """One gate for both: open, it writes; shut, it keeps: a minimal gated unit's forget gate."""
    SHOWS = "shows"
    """Open, it shows the memory as the hidden state: an LSTM's output gate."""
    RESETS = "resets"
    """Shut, it hides the state from the candidate: a GRU's reset gate."""
    CANDIDATE = "candidate"
    """What is written: no gate, although it is a block."""


class Gate(NamedTuple):
    """A block of rows of `weight_hh`: its name, the open range that its activation lives in, and what it does.

    Attributes:
        name: The field's word, such as `forget`.
        low, high: Ends of the range; `high` is infinite for an exponential gate.
        role: What it does to the memory; None if not declared: nothing then judges it.
    """

    name: str
    low: float
    high: float
    role: Role | None = None

    @property
    def is_sigmoid(self) -> bool:
        """Whether the block says how much passes, between 0 (shut) and 1 (open)."""
        return (self.low, self.high) == (0.0, 1.0)

    @property
    def is_bounded(self) -> bool:
        """Whether it has two ends to saturate at; an exponential gate has none above."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def keeps_when(self) -> Extreme | None:
        """The extreme at which it keeps the memory, or None if it has no part in that.

        Example:
            >>> Gate("update", 0.0, 1.0, Role.KEEPS_OR_WRITES).keeps_when
            'open'
            >>> Gate("forget", 0.0, 1.0, Role.WRITES_OR_KEEPS).keeps_when
            'shut'
        """
        if self.role in (Role.KEEPS, Role.KEEPS_OR_WRITES):
            return "open"
        return "shut" if self.role is Role.WRITES_OR_KEEPS else None

    def log_kept(self, preactivation: Tensor) -> Tensor:
        r"""Return the log of the share of the memory that a sigmoid gate keeps: :math:`\ln σ(z)` or :math:`\ln σ(-z)`.

        From the pre-activation, as a gate that is shut for good has no log of its own.

        Raises:
            ValueError: If it is no sigmoid gate that keeps.

        Example:
            >>> import torch
            >>> Gate("forget", 0.0, 1.0, Role.KEEPS).log_kept(torch.tensor(-800.0)).item()
            -800.0
        """
        if not self.is_sigmoid or self.keeps_when is None:
            raise ValueError(f"gate={self.name!r}; expected a sigmoid gate that keeps the memory")
        return logsigmoid(preactivation if self.keeps_when == "open" else -preactivation)

    @property
    def writes_when(self) -> Extreme | None:
        """The extreme at which it writes into the memory, or None if it has no part in that."""
        if self.role in (Role.WRITES, Role.WRITES_OR_KEEPS):
            return "open"
        return "shut" if self.role is Role.KEEPS_OR_WRITES else None


def opposite(extreme: Extreme) -> Extreme:
    """Return the other end of a gate's range."""
    return "open" if extreme == "shut" else "shut"
