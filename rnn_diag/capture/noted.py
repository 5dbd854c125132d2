"""What every call of a recurrent module leaves behind, whether of a whole layer or of one step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

Identity = tuple[tuple[int, int, bool], ...]
"""What a state is recognised by: where it is in memory, its size, and whether it is on a graph."""


class Selection:
    """Which sequences of a batch are followed: all, or `sequences` of them spread evenly over the batch."""

    def __init__(self, batch: int, sequences: int | None, device: torch.device) -> None:
        self.batch = batch
        count = batch if sequences is None else min(sequences, batch)
        self.complete = count == batch
        self.indices = (torch.arange(count, device=device) * batch) // max(count, 1)


class SlotGrads:
    """Gradients by name, summed over backward passes."""

    def __init__(self) -> None:
        self._grads: dict[str, Tensor] = {}

    def add(self, name: str, grad: Tensor) -> None:
        """Add a gradient."""
        self._grads[name] = self._grads[name] + grad if name in self._grads else grad

    def get(self, name: str) -> Tensor | None:
        """Return the sum, or None if there was none."""
        return self._grads.get(name)

    def __bool__(self) -> bool:
        return bool(self._grads)


class NotedCall:
    """One call: copies of what is needed of it, and how it hangs together with the calls before and after.

    Attributes:
        selection: Which sequences were copied.
        inputs: `[…, B, I]` copies.
        initial: `[…, B, ·]` copies of each part of the state that it started from.
        grads: The gradients that came back.
        had_grad: Whether a graph was built.
        is_second_pass: Whether this is what a checkpoint ran again.
        ends: What the state that it returned is recognised by.
        continues_from: What the state that it was given is recognised by, or None if it was given none.
    """

    selection: Selection
    inputs: Tensor
    initial: tuple[Tensor, ...]

    def __init__(self, before: Sequence[Tensor | None], after: Sequence[Tensor], results: Iterable[Tensor]) -> None:
        self.grads = SlotGrads()
        self.had_grad = any(result.requires_grad for result in results)
        self.is_second_pass = False
        given = [state for state in before if state is not None]
        self.continues_from = identity(given) if len(given) == len(after) else None
        self.ends = [identity(after)]
        self._kept_alive = [state.detach() for state in after]  # so that no other tensor takes their place in memory
        self.handles: list[Any] = []

    def stands_for(self, first_pass: NotedCall) -> None:
        """Take the place of a checkpoint's first pass, with whose state the model went on."""
        self.is_second_pass = True
        self.ends += [tuple((place, size, True) for place, size, _ in end) for end in first_pass.ends]
        self._kept_alive += first_pass._kept_alive

    def let_go(self) -> None:
        """Hold none of the model's memory any longer."""
        self._kept_alive = []
        for handle in self.handles:
            handle.remove()
        self.handles = []


def identity(states: Iterable[Tensor]) -> Identity:
    """Return what a state is recognised by: a view of it is the same memory, a detached one cuts the sequence."""
    return tuple((state.data_ptr(), state.numel(), state.requires_grad) for state in states)


def trace_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype that measures are taken in: float64 stays, everything else is float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
