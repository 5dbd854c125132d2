"""What a layer was fed: how long sequences are, how much is padding, and how much of that was read as data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnn_diag.diagnostics.numerics.precision import in_double
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Int


@dataclass(frozen=True)
class InputCounts:
    """Counts over one or several calls, on one or several ranks.

    Attributes:
        cells: Steps times sequences, padding included.
        valid: Those that were read.
        sequences: Their number.
        is_part: Whether they are only some of a batch's.
        longest: Length of the longest, in steps.
        square: Sum of the mean squares of the inputs read.
        tail: Steps read that repeat their sequence's last input, where the loss can depend on them.
        head: Steps read that repeat their sequence's first input.
        tails_differ, heads_differ: Whether their lengths differ within a batch, as those of padding do.
    """

    cells: int
    valid: int
    sequences: int
    is_part: bool
    longest: int
    square: float
    tail: int
    head: int
    tails_differ: bool
    heads_differ: bool

    @classmethod
    def of(cls, trace: Trace) -> InputCounts:
        """Return the counts of one call.

        Example:
            >>> from rnn_diag.testing.known import linear_trace
            >>> trace = linear_trace(0.5, steps=4, batch=2)
            >>> trace.inputs[:] = torch.tensor([[1.0, 2.0], [3.0, 4.0], [0.0, 5.0], [0.0, 6.0]]).unsqueeze(-1)
            >>> counts = InputCounts.of(trace)
            >>> counts.tail, counts.padding_read
            (1, 0.125)
        """
        inputs, mask = trace.inputs.flatten(2), trace.mask.to(trace.inputs.device)
        tail, head = repeated_inputs(trace), repeated_inputs(trace, in_front=True)
        if trace.has_equations and trace.has_gradients and not enters_the_loss(trace, tail):
            tail = torch.zeros_like(tail)
        return cls(
            cells=trace.mask.numel(),
            valid=int(trace.mask.sum()),
            sequences=trace.mask.shape[1],
            is_part=bool((trace.sequences >= len(trace.sequences)).any()),
            longest=int(trace.lengths.max()),
            square=float(in_double(inputs).square().mean(-1)[mask].sum()),
            tail=int(tail.sum()),
            head=int(head.sum()),
            tails_differ=bool((tail != tail[:1]).any()),
            heads_differ=bool((head != head[:1]).any()),
        )

    @property
    def scale(self) -> float:
        """Root mean square of the inputs read."""
        return math.sqrt(self.square / max(self.valid, 1))

    @property
    def padding(self) -> float:
        """Share of the batch that is padding and was left out by packing."""
        return 1 - self.valid / max(self.cells, 1)

    @property
    def padding_read(self) -> float:
        """Share of the steps read that repeat a sequence's last input, where these tails differ in length."""
        return self.tail / max(self.valid, 1) if self.tails_differ else 0.0

    @property
    def padding_in_front(self) -> float:
        """Share of the steps read that repeat a sequence's first input, where these heads differ in length."""
        return self.head / max(self.valid, 1) if self.heads_differ else 0.0

    def __add__(self, other: InputCounts) -> InputCounts:
        return InputCounts(
            cells=self.cells + other.cells,
            valid=self.valid + other.valid,
            sequences=self.sequences + other.sequences,
            is_part=self.is_part or other.is_part,
            square=self.square + other.square,
            longest=max(self.longest, other.longest),
            tail=self.tail + other.tail,
            head=self.head + other.head,
            tails_differ=self.tails_differ or other.tails_differ,
            heads_differ=self.heads_differ or other.heads_differ,
        )


def repeated_inputs(trace: Trace, in_front: bool = False) -> Int[Tensor, " batch"]:
    """Return how many steps at the end of each sequence, or in front, repeat its last, or first, input.

    0 where it is the only one. Inputs that a packed sequence leaves out do not count, nor do sequences that never
    change.
    """
    inputs, mask = trace.inputs.flatten(2), trace.mask.to(trace.inputs.device)
    lengths = trace.lengths.to(inputs.device)
    last = (lengths - 1).clamp(min=0)
    batch = torch.arange(inputs.shape[1], device=inputs.device)
    same = (inputs == (inputs[0] if in_front else inputs[last, batch])).all(-1)
    if in_front:
        run = (same & mask).long().cumprod(0).sum(0) - 1
    else:
        run = (same | ~mask).flip(0).long().cumprod(0).sum(0) - (len(same) - 1 - last) - 1
    return torch.where(run + 1 < lengths, run.clamp(min=0), 0).cpu()


def enters_the_loss(trace: Trace, tail: Int[Tensor, " batch"]) -> bool:
    """Return whether the repeated inputs at the end of a sequence can affect the loss.

    In a reverse layer they always can: it reads them first.
    """
    if trace.reverse:
        return True
    direct = trace.hidden_grad_direct.abs().sum(-1).cpu()
    first = (trace.lengths.cpu() - 1 - tail).where(tail > 0, len(direct))
    return bool((direct * (torch.arange(len(direct)).unsqueeze(1) >= first)).any())
