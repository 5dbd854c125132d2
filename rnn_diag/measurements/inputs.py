"""What a layer was fed: how long sequences are, how much is padding, and how much of that was read as data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnn_diag.diagnostics.numerics.precision import in_double
from rnn_diag.pending import Pending
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


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
        return cls.pending(trace).here()

    @classmethod
    def pending(cls, trace: Trace) -> Pending[InputCounts]:
        """Ask the call's device for what they are made of."""
        given = trace.equations.features(trace.inputs, trace.weights) if trace.has_equations else trace.inputs
        inputs, known = given.flatten(2), trace.has_equations and trace.has_gradients
        last = inputs[(trace.lengths - 1).clamp(min=0), torch.arange(inputs.shape[1], device=inputs.device)]
        asked = (
            in_double(inputs).square().mean(-1),
            (inputs == last).all(-1),
            (inputs == inputs[0]).all(-1),
            trace.hidden_grad_direct.abs().sum(-1) if known else None,
            trace.sequences,
        )
        return Pending(asked, partial(cls._made_of, trace))

    @classmethod
    def _made_of(
        cls, trace: Trace, squares: Tensor, as_last: Tensor, as_first: Tensor, direct: Tensor | None, batch: Tensor
    ) -> InputCounts:
        mask = trace.mask_with(squares)
        tail, head = repeated_at_the_end(as_last, mask), repeated_in_front(as_first, mask)
        if direct is not None and not trace.reverse and not enters_the_loss(direct, mask, tail):
            tail = torch.zeros_like(tail)
        return cls(
            cells=mask.numel(),
            valid=int(mask.sum()),
            sequences=mask.shape[1],
            is_part=bool((batch >= len(batch)).any()),
            longest=int(mask.sum(0).max()),
            square=float(squares[mask].sum()),
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


def repeated_at_the_end(as_last: Bool[Tensor, "time batch"], mask: Bool[Tensor, "time batch"]) -> Int[Tensor, " batch"]:
    """Return how many steps at the end of each sequence repeat its last input, that one not counted.

    0 where it is the only one. Inputs that a packed sequence leaves out do not count, nor do sequences that never
    change.

    Args:
        as_last: Whether an input equals the last one of its sequence.
        mask: Valid steps, at the front of every sequence.

    Example:
        >>> as_last = torch.tensor([[False], [True], [True], [False]])
        >>> repeated_at_the_end(as_last, torch.tensor([[True], [True], [True], [False]])).tolist()
        [1]
    """
    run = (as_last | ~mask).flip(0).long().cumprod(0).sum(0) - (~mask).sum(0) - 1
    return _unless_all(run, mask)


def repeated_in_front(as_first: Bool[Tensor, "time batch"], mask: Bool[Tensor, "time batch"]) -> Int[Tensor, " batch"]:
    """Return the same of the steps at the start, which repeat the first input."""
    return _unless_all((as_first & mask).long().cumprod(0).sum(0) - 1, mask)


def _unless_all(run: Int[Tensor, " batch"], mask: Bool[Tensor, "time batch"]) -> Int[Tensor, " batch"]:
    return torch.where(run + 1 < mask.sum(0), run.clamp(min=0), 0)


def enters_the_loss(
    direct: Float[Tensor, "time batch"], mask: Bool[Tensor, "time batch"], tail: Int[Tensor, " batch"]
) -> bool:
    """Return whether the repeated inputs at the end of a sequence that is read forward can affect the loss.

    In a reverse layer they always can: it reads them first.

    Args:
        direct: What enters the layer directly at every step, in magnitude.
        mask: Valid steps.
        tail: How many inputs at the end are repeated.
    """
    first = (mask.sum(0) - 1 - tail).where(tail > 0, len(direct))
    return bool((direct * (torch.arange(len(direct)).unsqueeze(1) >= first)).any())
