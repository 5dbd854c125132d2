"""The share of valid steps at which something holds, stored as counts so that batches and ranks merge exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from rnn_diag.engine.precision import is_waited_for
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float


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
    def of(cls, trace: Trace, values: dict[str, Float[Tensor, "time batch hidden"]]) -> Share:
        """Return the share that values from 0 to 1 are in each block; padding never counts, NaN stays visible."""
        return cls._counted(trace, values, lambda given, room: room.copy_(given))

    @classmethod
    def where(
        cls,
        trace: Trace,
        values: dict[str, Float[Tensor, "time batch hidden"]],
        compare: Callable[[Tensor, Tensor], object],
    ) -> Share:
        """Return the share of values for which something holds; padding never counts, NaN stays visible.

        Args:
            trace: Whose values they are.
            values: By block.
            compare: Given values and room for as many, it fills in 1 where it holds and 0 elsewhere.
        """
        sums = torch.stack([given.sum() for given in values.values()])
        # Infinities of both signs make their sum NaN, too, and change nothing here; a GPU is not waited for.
        may_hold_nan = is_waited_for(sums) or bool(sums.isnan().any())

        def ones(given: Tensor, room: Tensor) -> None:
            compare(given, room)
            if may_hold_nan:
                room.masked_fill_(given != given, float("nan"))

        return cls._counted(trace, values, ones)

    @classmethod
    def _counted(cls, trace: Trace, values: dict[str, Tensor], fill: Callable[[Tensor, Tensor], object]) -> Share:
        """Count in each block in the same memory: blocks are as large as all that a layer went through."""
        mask, first = trace.mask, next(iter(values.values()))
        exact = torch.float64 if first.numel() >= _COUNTED_EXACTLY else torch.promote_types(first.dtype, torch.float32)
        room = torch.empty(first.shape, dtype=exact, device=first.device)
        padding = None if trace.source.mask is None else ~mask.to(room.device).unsqueeze(-1)
        by_sequence = []
        for given in values.values():
            fill(given, room)
            if padding is not None:
                room.masked_fill_(padding, 0.0)
            by_sequence.append(room.sum(1))
        counts, sequences = torch.stack(by_sequence), mask.sum(1).to(room.device).double()
        return cls(tuple(values), counts.sum(1).double(), counts.sum(2).double(), sequences)

    @cached_property
    def by_unit(self) -> Float[Tensor, "block hidden"]:
        """Share of valid steps, for every unit."""
        return self.unit_counts / self.sequences.sum()

    @property
    def by_step(self) -> Float[Tensor, "block time"]:
        """Share of units and valid sequences, at every step; NaN where no sequence was valid."""
        return self.step_counts / (self.sequences * self.unit_counts.shape[1])

    @cached_property
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


def _longer(values: Tensor, steps: int) -> Tensor:
    return pad(values, (0, steps - values.shape[-1]))
