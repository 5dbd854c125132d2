"""What every call of a recurrent module leaves behind, whether of a whole layer or of one step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rnn_diag.errors import described, lets_errors_through

if TYPE_CHECKING:
    from rnn_diag.capture.lineage import Lineage

Identity = tuple[tuple[int, int, int, bool], ...]
"""What a state is recognised by: where in memory, its size, how often it was written to, whether it is on a graph."""


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
        initial_requires_grad: Whether the state that it started from was on it.
        is_second_pass: Whether this is what a checkpoint ran again.
        ends: What the state that it returned is recognised by.
        continues_from: What the state that it was given is recognised by, or None if it was given none.
        copied_from: The same of the returned state of which it was given a copy, if it was given one.
        kernel_dtype: What it was computed in.
        trained: Names of the layers whose `weight_hh` needed a gradient.
        problem: What went wrong when a gradient came back.
        number: Its place among all calls of the recording.
    """

    selection: Selection
    inputs: Tensor
    initial: tuple[Tensor, ...]

    def __init__(self, before: Sequence[Tensor | None], after: Sequence[Tensor], results: Iterable[Tensor]) -> None:
        self.grads = SlotGrads()
        self.had_grad = any(result.requires_grad for result in results)
        self.kernel_dtype = _kernel_dtype(after[0])
        self.is_second_pass = False
        given = [state for state in before if state is not None]
        self.initial_requires_grad = any(state.requires_grad for state in given)
        self.continues_from = identity(given) if len(given) == len(after) else None
        self.copied_from: Identity | None = None
        self._states: tuple[Sequence[Tensor | None], Sequence[Tensor]] | None = (before, after)
        self.ends = [identity(after)]
        self._kept_alive = [state.detach() for state in after]  # so that no other tensor takes their place in memory
        self._handles: list[Any] = []
        self.trained: set[str] = set()
        self.problem = ""
        self.number = 0

    def look_back(self, lineage: Lineage) -> None:
        """Find out which call's state it was given a copy of."""
        if self._states is not None:
            before, after = self._states
            self.copied_from = lineage.origin(before)
            lineage.add(after)
        self._states = None

    def take_grad_of(self, name: str, tensor: Tensor, read: Callable[[Tensor], Tensor]) -> None:
        """Take the total gradient of a tensor on the graph when it comes, `read` into the form of the copies."""
        if tensor.requires_grad:
            self._handles.append(tensor.register_hook(partial(self.take_grad, name, read)))

    def take_grad(self, name: str, read: Callable[[Tensor], Tensor], grad: Tensor | None) -> None:
        """Add a gradient that came back; a kernel with several results may send None for one that nobody used."""
        if grad is None:
            return
        try:
            self.grads.add(name, read(grad.detach()))
        except Exception as error:  # it would end the user's backward pass
            if lets_errors_through():
                raise
            self.problem = f"a gradient could not be read: {described(error)}"

    def stands_for(self, first_pass: NotedCall) -> None:
        """Take the place of a checkpoint's first pass, with whose state the model went on."""
        self.is_second_pass = True
        self.number = first_pass.number
        self.ends += [tuple((*seen, True) for *seen, _ in end) for end in first_pass.ends]  # type: ignore[misc]
        self._kept_alive += first_pass._kept_alive

    def let_go(self) -> None:
        """Hold none of the model's memory any longer."""
        self._kept_alive, self._states = [], None
        for handle in self._handles:
            handle.remove()
        self._handles = []


def identity(states: Iterable[Tensor]) -> Identity:
    """Return what a state is recognised by: a view of it is the same memory, a detached one cuts the sequence."""
    return tuple((state.data_ptr(), state.numel(), version(state), state.requires_grad) for state in states)


def version(value: Tensor) -> int:
    """Return how often a tensor was written to; inference tensors do not count."""
    return -1 if value.is_inference() else value._version


def _kernel_dtype(result: Tensor) -> torch.dtype:
    """Return what a result was computed in: under autocast a kernel may give back more digits than it has."""
    kind = result.device.type
    if kind == "meta":
        raise RuntimeError("it ran on the meta device, where there are shapes and no numbers")
    if result.dtype == torch.float64 or not torch.is_autocast_enabled(kind):
        return result.dtype
    return torch.get_autocast_dtype(kind)


def trace_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype that measures are taken in: float64 stays, everything else is float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
