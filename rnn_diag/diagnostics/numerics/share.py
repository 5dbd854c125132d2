"""The share of valid steps at which something holds, stored as counts so that batches and ranks merge exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


_COUNTED_EXACTLY = 2**24
"""Up to here single precision counts every one."""


@dataclass(frozen=True)
class Share:
    """How often something holds, for every block (a gate, say), by unit and by step.

    A unit that was NaN at a valid step has the share NaN, and so has that step.

    Attributes:
        blocks: Their names.
        unit_counts: Valid steps at which it held.
        step_counts: Units times valid sequences for which it held.
        sequences: Valid sequences at every step.
    """

    blocks: tuple[str, ...]
    unit_counts: Float[Tensor, "block hidden"]
    step_counts: Float[Tensor, "block time"]
    sequences: Float[Tensor, " time"]

    @classmethod
    def of(cls, trace: Trace, holds: dict[str, Float[Tensor, "time batch hidden"]]) -> Share:
        """Return the share of ones in each block; padding never counts, NaN stays visible."""
        values, mask = torch.stack(list(holds.values())), trace.mask
        if trace.source.mask is not None:
            values = values.masked_fill(~mask.to(values.device).unsqueeze(-1), 0.0)
        if values.numel() // len(values) >= _COUNTED_EXACTLY:
            values = values.double()
        sequences = mask.sum(1).to(values.device).double()
        return cls(tuple(holds), values.sum((1, 2)).double(), values.sum((2, 3)).double(), sequences)

    @property
    def by_unit(self) -> Float[Tensor, "block hidden"]:
        """Share of valid steps, for every unit."""
        return self.unit_counts / self.sequences.sum()

    @property
    def by_step(self) -> Float[Tensor, "block time"]:
        """Share of units and valid sequences, at every step; NaN where no sequence was valid."""
        return self.step_counts / (self.sequences * self.unit_counts.shape[1])

    @property
    def mean(self) -> Float[Tensor, " block"]:
        """Share of units and valid steps."""
        return self.by_unit.mean(1)

    def __add__(self, other: Share) -> Share:
        if self.blocks != other.blocks or self.unit_counts.shape != other.unit_counts.shape:
            raise ValueError(f"shares of different layers: {self._described()} and {other._described()}")
        steps = max(len(self.sequences), len(other.sequences))
        return Share(
            self.blocks,
            self.unit_counts + other.unit_counts,
            _longer(self.step_counts, steps) + _longer(other.step_counts, steps),
            _longer(self.sequences, steps) + _longer(other.sequences, steps),
        )

    def _described(self) -> str:
        return f"{', '.join(self.blocks)} of {self.unit_counts.shape[1]} units"


def one_where(condition: Bool[Tensor, "*shape"], values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return 1 where the condition holds, 0 elsewhere, and NaN where the values are NaN; in single precision."""
    return torch.where(values == values, condition.float(), float("nan"))


def _longer(values: Tensor, steps: int) -> Tensor:
    return pad(values, (0, steps - values.shape[-1]))
