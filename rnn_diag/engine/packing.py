"""How sequences come and go: time or batch first, unbatched, packed, sorted or not; inside, padded and time first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rnn_diag.engine.unroll import back_to_front

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Packing:
    """One input, remembered so that outputs can be given back in its form.

    Attributes:
        data: `[T, B, I]`, or the packed data `[N, I]`.
        batch_sizes: How many sequences are still running at each step, when packed.
        sorted_indices, unsorted_indices: The order of a `PackedSequence`.
        batch_first, unbatched: The form of a plain tensor.
    """

    data: Tensor
    batch_sizes: Tensor | None = None
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None
    batch_first: bool = False
    unbatched: bool = False

    @classmethod
    def of(cls, input: Tensor | PackedSequence, batch_first: bool, module: str) -> Packing:
        """Return the form of an input.

        Raises:
            ValueError: If a plain tensor has neither two nor three axes; in torch's words.
        """
        if isinstance(input, PackedSequence):
            return cls(input.data, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
        if input.dim() not in (2, 3):
            got = f"{input.dim()}D tensor" if module == "RNN" else f"{input.dim()}D"
            raise ValueError(f"{module}: Expected input to be 2D or 3D, got {got} instead")
        if input.dim() == 2:
            return cls(input.unsqueeze(1), unbatched=True)
        return cls(input.transpose(0, 1) if batch_first else input, batch_first=batch_first)

    @property
    def batch(self) -> int:
        """How many sequences there are."""
        return int(self.batch_sizes[0]) if self.batch_sizes is not None else self.data.shape[1]

    @cached_property
    def lengths(self) -> Int[Tensor, " batch"] | None:
        """Valid steps of every sequence, longest first as they are packed, or None when there is no padding."""
        if self.batch_sizes is None:
            return None
        running = self.batch_sizes.unsqueeze(1) > torch.arange(self.batch)
        return running.sum(0).to(self.data.device, non_blocking=True)

    @cached_property
    def mask(self) -> Bool[Tensor, "time batch"] | None:
        """Valid steps, or None when all are."""
        if self.lengths is None or self.batch_sizes is None or bool((self.batch_sizes == self.batch).all()):
            return None
        return torch.arange(len(self.batch_sizes), device=self.data.device).unsqueeze(1) < self.lengths

    def padded(self) -> Float[Tensor, "time batch features"]:
        """Return the input time first, padded with zeros."""
        if self.batch_sizes is None:
            return self.data
        return pad_packed_sequence(PackedSequence(self.data, self.batch_sizes))[0]

    def reversed(self, steps: Float[Tensor, "time batch features"]) -> Float[Tensor, "time batch features"]:
        """Return every sequence back to front within its own length; padding stays at the end."""
        return back_to_front(steps, self.mask)

    def on_valid_steps(
        self, steps: Float[Tensor, "time batch features"], function: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "time batch features"]:
        """Apply a function to what torch's kernels would see: the packed data where there is padding."""
        if self.mask is None:
            return function(steps) if self.batch_sizes is None else function(steps.flatten(0, 1)).view_as(steps)
        return torch.zeros_like(steps).masked_scatter(self.mask.unsqueeze(-1), function(steps[self.mask]))

    def restored_output(self, steps: Float[Tensor, "time batch features"]) -> Tensor | PackedSequence:
        """Return outputs in the form that the input had."""
        if self.batch_sizes is not None:
            data = steps.flatten(0, 1) if self.mask is None else steps[self.mask]
            return PackedSequence(data, self.batch_sizes, self.sorted_indices, self.unsorted_indices)
        if self.unbatched:
            return steps.squeeze(1)
        return steps.transpose(0, 1) if self.batch_first else steps

    def sorted_states(self, states: Sequence[Tensor], plural: bool) -> tuple[Tensor, ...]:
        """Return given initial states `[layers, B, ·]` in the order of the packed batch.

        Raises:
            RuntimeError: If they are not batched as the input is; in torch's words.
        """
        if self.batch_sizes is None:
            expected = 2 if self.unbatched else 3
            if any(state.dim() != expected for state in states):
                raise RuntimeError(_wrong_axes([state.dim() for state in states], expected, plural))
            return tuple(state.unsqueeze(1) if self.unbatched else state for state in states)
        if self.sorted_indices is None:
            return tuple(states)
        return tuple(state.index_select(1, self.sorted_indices) for state in states)

    def restored_states(self, states: Sequence[Tensor]) -> list[Tensor]:
        """Return final states `[layers, B, ·]` in the caller's order and form."""
        if self.unbatched:
            return [state.squeeze(1) for state in states]
        if self.unsorted_indices is None:
            return list(states)
        return [state.index_select(1, self.unsorted_indices) for state in states]


def _wrong_axes(axes: list[int], expected: int, plural: bool) -> str:
    batched = "unbatched 2-D" if expected == 2 else "batched 3-D"
    if plural:
        got = ", ".join(f"{n}-D" for n in axes)
        return f"For {batched} input, hx and cx should also be {expected}-D but got ({got}) tensors"
    return f"For {batched} input, hx should also be {expected}-D but got {axes[0]}-D tensor"
