"""One call of a recurrent module seen from outside: copies of what went in and out, and the gradients that came."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnn_diag.capture.noted import NotedCall, Selection, trace_dtype
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.packing import Packing


class Call(NotedCall):
    """One call of a stack of layers.

    Attributes:
        inputs: `[T, B, I]`, time first, the followed sequences in the caller's order.
        initial: `[layers · directions, B, ·]` for each part of the state.
        output: `[T, B, directions · P]` of the last layer.
        mask: `[T, B]` or None when every step is valid.
        weights: Detached copies, by layer suffix.
        grads: `output`, `hidden`, `cell` (of the final state) and, for the self-check, `input`.
        masks: Dropout masks between layers, by the layer they feed, or None if a mask is not known.
    """

    def __init__(
        self,
        module: nn.RNNBase,
        arguments: tuple[Any, Any],
        result: Any,
        weights: dict[str, Weights],
        sequences: int | None,
        has_cell: bool,
    ) -> None:
        input, hx = arguments
        output, final = result
        final = tuple(final) if has_cell else (final,)
        states = (None,) * len(final) if hx is None else tuple(hx) if has_cell else (hx,)
        data = output.data if isinstance(output, PackedSequence) else output
        super().__init__(states, final, (data, *final))
        packing = Packing.of(_detached(input), module.batch_first, type(module).__name__)
        self.selection = Selection(packing.batch, sequences, packing.data.device)
        self.dtype = trace_dtype(next(iter(weights.values())).weight_hh.dtype)
        self.weights = weights
        self.masks: dict[int, Tensor] | None = {}
        self._batch_first = module.batch_first
        self._columns = _columns(packing, self.selection)
        self.inputs = self._steps(packing)
        mask = packing.mask
        self.mask = None if mask is None else mask[:, self._columns]
        self.initial = tuple(
            self._state(torch.zeros_like(last) if given is None else given, packing.unbatched)
            for given, last in zip(states, final, strict=True)
        )
        self.output = self._steps(Packing.of(_detached(output), module.batch_first, ""))
        self.take_grad_of("output", data, partial(self._steps_of, _packed_as(output)))
        for name, state in zip(("hidden", "cell"), final, strict=False):
            self.take_grad_of(name, state, partial(self._state, unbatched=packing.unbatched))
        self.read_input_grad = partial(self._steps_of, _packed_as(input))

    def _steps_of(self, packed_as: tuple[Any, ...] | None, steps: Tensor) -> Tensor:
        """Return steps that come in the form of the input or output: packed as it is, or a plain tensor."""
        given = steps if packed_as is None else PackedSequence(steps, *packed_as)
        return self._steps(Packing.of(given, self._batch_first, ""))

    def chosen_masks(self, masks: list[Any]) -> dict[int, Tensor]:
        """Return the followed sequences' dropout masks, by the layer that they feed."""
        return {layer: self._steps(Packing.of(mask, False, "")) for layer, mask in enumerate(masks, start=1)}

    def _steps(self, packing: Packing) -> Tensor:
        return packing.padded()[:, self._columns].to(self.dtype)

    def _state(self, state: Tensor, unbatched: bool) -> Tensor:
        state = state.detach()
        return (state.unsqueeze(1) if unbatched else state)[:, self.selection.indices].to(self.dtype)


def _columns(packing: Packing, selection: Selection) -> Tensor:
    """Return where the followed sequences are in the order of the kernel's batch."""
    order = packing.unsorted_indices
    return selection.indices if order is None else order[selection.indices]


def _packed_as(steps: Any) -> tuple[Any, ...] | None:
    return tuple(steps[1:]) if isinstance(steps, PackedSequence) else None


def _detached(input: Any) -> Any:
    if isinstance(input, PackedSequence):
        return PackedSequence(input.data.detach(), *input[1:])
    return input.detach()
