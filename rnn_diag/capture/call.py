"""One call of a recurrent module as seen from outside: copies of what went in and out, and the gradients that came back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnn_diag.capture.fidelity import watch_edges
from rnn_diag.cells.equations import Weights
from rnn_diag.nn.packing import Packing


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


class Call:
    """One call of a stack of layers.

    Attributes:
        inputs: `[T, B, I]`, time first, the followed sequences in the caller's order.
        initial: `[layers · directions, B, ·]` for each part of the state.
        output: `[T, B, directions · P]` of the last layer.
        mask: `[T, B]` or None when every step is valid.
        weights: Detached copies, by layer suffix.
        grads: `output`, `hidden`, `cell` (of the final state) and, for the self-check, `input`.
        masks: Dropout masks between layers, by the layer they feed, or None if a mask is not known.
        had_grad: Whether a graph was built.
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
        packing = Packing.of(_detached(input), module.batch_first, type(module).__name__)
        self.selection = Selection(packing.batch, sequences, packing.data.device)
        self.dtype = trace_dtype(next(iter(weights.values())).weight_hh.dtype)
        self.weights = weights
        self.grads = SlotGrads()
        self.masks: dict[int, Tensor] | None = {}
        self.stack: Any = None
        self._batch_first = module.batch_first
        self._columns = _columns(packing, self.selection)
        self.inputs = self._steps(packing)
        mask = packing.mask
        self.mask = None if mask is None else mask[:, self._columns]
        final = tuple(final) if has_cell else (final,)
        states = (None,) * len(final) if hx is None else tuple(hx) if has_cell else (hx,)
        self.initial = tuple(
            self._state(torch.zeros_like(last) if given is None else given, packing.unbatched)
            for given, last in zip(states, final, strict=True)
        )
        self.output = self._steps(Packing.of(_detached(output), module.batch_first, ""))
        self.identity = identity(final[0])
        self.continues_from = identity(states[0]) if isinstance(states[0], Tensor) else None
        self.kept_alive: tuple[Tensor, ...] = final  # so that no other tensor takes their place in memory
        data = output.data if isinstance(output, PackedSequence) else output
        self.kernel_dtype = data.dtype
        self.had_grad = data.requires_grad or any(state.requires_grad for state in final)
        self.handles = self._watch(module.batch_first, output, data, final, packing.unbatched)

    def _watch(
        self, batch_first: bool, output: Any, data: Tensor, final: tuple[Tensor, ...], unbatched: bool
    ) -> list[Any]:
        def output_grad(grad: Tensor) -> None:
            form = PackedSequence(grad, *output[1:]) if isinstance(output, PackedSequence) else grad
            self.grads.add("output", self._steps(Packing.of(_detached(form), batch_first, "")))

        def final_grad(name: str, grad: Tensor) -> None:
            self.grads.add(name, self._state(grad, unbatched))

        handles = [data.register_hook(output_grad)] if data.requires_grad else []
        for name, state in zip(("hidden", "cell"), final, strict=False):
            if state.requires_grad:
                handles.append(state.register_hook(lambda grad, name=name: final_grad(name, grad)))
        return handles

    def watch_input(self, input: Any, result: Any, used: list[Tensor]) -> list[Any]:
        """Watch what this call contributes to its input's gradient; return the hooks' handles."""
        output, final = result
        data = input.data if isinstance(input, PackedSequence) else input
        if not data.requires_grad:
            return []

        def take(grad: Tensor) -> None:
            form = PackedSequence(grad, *input[1:]) if isinstance(input, PackedSequence) else grad
            self.grads.add("input", self._steps(Packing.of(_detached(form), self._batch_first, "")))

        outputs = (
            (output.data if isinstance(output, PackedSequence) else output, *final)
            if isinstance(final, tuple)
            else (output.data if isinstance(output, PackedSequence) else output, final)
        )
        return watch_edges(outputs, data, used, take)

    def chosen_masks(self, masks: list[Any]) -> dict[int, Tensor]:
        """Return the followed sequences' dropout masks, by the layer that they feed."""
        return {layer: self._steps(Packing.of(mask, False, "")) for layer, mask in enumerate(masks, start=1)}

    def let_go(self) -> None:
        """Hold none of the model's tensors any longer."""
        self.kept_alive = ()
        for handle in self.handles:
            handle.remove()
        self.handles = []

    def _steps(self, packing: Packing) -> Tensor:
        return packing.padded()[:, self._columns].to(self.dtype)

    def _state(self, state: Tensor, unbatched: bool) -> Tensor:
        state = state.detach()
        return (state.unsqueeze(1) if unbatched else state)[:, self.selection.indices].to(self.dtype)


def trace_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype that measures are taken in: float64 stays, everything else is float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _columns(packing: Packing, selection: Selection) -> Tensor:
    """Return where the followed sequences are in the order of the kernel's batch."""
    order = packing.unsorted_indices
    return selection.indices if order is None else order[selection.indices]


def _detached(input: Any) -> Any:
    if isinstance(input, PackedSequence):
        return PackedSequence(input.data.detach(), *input[1:])
    return input.detach()


def identity(state: Tensor) -> tuple[int, int, bool]:
    """Return what a state is recognised by: a view of it is the same memory, a detached one cuts the sequence."""
    return state.data_ptr(), state.numel(), state.requires_grad
