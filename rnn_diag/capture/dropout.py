"""The masks that dropout drew between layers: drawn again from the generator's state, or read off cuDNN."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence

from rnn_diag.capture.cudnn_dropout import WatchedKernel, masks_of
from rnn_diag.engine.packing import Packing
from rnn_diag.nn.layer import RecurrentLayer

_KERNELS = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "rnn_tanh", "RNN_RELU": "rnn_relu"}


def draws_masks(module: nn.Module) -> bool:
    """Whether this call of a module will drop anything between its layers."""
    if not isinstance(module, nn.RNNBase):
        return False
    return bool(module.training and module.dropout > 0 and module.num_layers > 1)


def generator_state(module: nn.Module) -> Tensor | None:
    """Return the state that the masks will be drawn from, or None where a kernel keeps one of its own (cuDNN)."""
    device = module._flat_weights[0].device  # type: ignore[index]
    if device.type == "cpu":
        return torch.get_rng_state()
    explicit = isinstance(module, RecurrentLayer) and module.runs_equations
    return torch.cuda.get_rng_state(device) if explicit and device.type == "cuda" else None


def what_decides_masks(module: nn.Module) -> Tensor | WatchedKernel | None:
    """Return the generator's state that a call will draw masks from, or what watches cuDNN draw from its own."""
    if not draws_masks(module):
        return None
    state = generator_state(module)
    return WatchedKernel() if state is None and reads_cudnn(module) else state


def reads_cudnn(module: nn.Module) -> bool:
    """Whether a module's kernel is cuDNN's, whose masks can be read off it."""
    device = module._flat_weights[0].device  # type: ignore[index]
    return bool(device.type == "cuda" and torch.version.cuda)


def drawn_masks(module: nn.RNNBase, decided: Tensor | WatchedKernel | None, output: Any) -> list[Any] | None:
    """Return the scaled masks that fed layers 1, 2, …, each in the form of the module's output, time first; or None.

    One mask for each direction of the layer, or one that all directions share.
    """
    if isinstance(decided, WatchedKernel):
        if decided.call is None:
            return None
        return [tuple(_in_form_of(mask, output) for mask in masks) for masks in masks_of(decided.call)]
    if decided is None:
        return None
    data = output.data if isinstance(output, PackedSequence) else output
    time_first = (
        data.transpose(0, 1)
        if module.batch_first and not isinstance(output, PackedSequence) and data.dim() == 3
        else data
    )
    generator = torch.Generator(data.device)
    generator.set_state(decided)
    masks = []
    for _ in range(1, module.num_layers):
        mask = torch.zeros(time_first.shape, dtype=data.dtype, device=data.device)
        if module.dropout < 1:
            mask.bernoulli_(1 - module.dropout, generator=generator).div_(1 - module.dropout)
        masks.append((_in_form_of(mask, output),))
    return masks


class LayerByLayer:
    """Runs a fused module's layers as single-layer kernel calls with `torch.nn.functional.dropout` between them.

    The result is one that the module could have given; it is not the one that it would have given, since the masks come
    from the device's ordinary generator, which this advances.

    Attributes:
        masks: What each layer but the first was multiplied with, in the form of the module's output, time first.
    """

    def __init__(self) -> None:
        self.masks: list[tuple[Any, ...]] = []

    def __call__(self, module: nn.RNNBase, input: Any, hx: Any = None) -> Any:
        """Run the module; arguments and result are those of its `forward`."""
        has_cell = module.mode == "LSTM"
        packing = Packing.of(input, module.batch_first, type(module).__name__)
        state = self._initial(module, packing, hx, has_cell)
        directions = 2 if module.bidirectional else 1
        between, finals = packing.data, []
        for k in range(module.num_layers):
            if k:
                mask = dropout(torch.ones_like(between), module.dropout, module.training)
                self.masks.append((_in_form_of(mask, input),))
                between = between * mask
            here = slice(k * directions, (k + 1) * directions)
            between, *final = self._layer(module, k, between, packing.batch_sizes, [part[here] for part in state])
            finals.append(final)
        stacked = packing.restored_states([torch.cat(parts) for parts in zip(*finals, strict=True)])
        return self._output(packing, between), tuple(stacked) if has_cell else stacked[0]

    def _layer(
        self, module: nn.RNNBase, k: int, data: Tensor, batch_sizes: Tensor | None, state: list[Tensor]
    ) -> tuple[Tensor, ...]:
        kernel = getattr(torch._VF, _KERNELS[module.mode])
        per_layer = len(module._flat_weights) // module.num_layers
        weights = module._flat_weights[k * per_layer : (k + 1) * per_layer]
        hx = tuple(state) if module.mode == "LSTM" else state[0]
        options = (module.bias, 1, 0.0, module.training, module.bidirectional)
        if batch_sizes is None:
            return tuple(kernel(data, hx, weights, *options, False))
        return tuple(kernel(data, batch_sizes, hx, weights, *options))

    def _initial(self, module: nn.RNNBase, packing: Packing, hx: Any, has_cell: bool) -> tuple[Tensor, ...]:
        if hx is not None:
            return packing.sorted_states(tuple(hx) if has_cell else (hx,), has_cell)
        layers = module.num_layers * (2 if module.bidirectional else 1)
        sizes = [module.proj_size or module.hidden_size, module.hidden_size][: 2 if has_cell else 1]
        return tuple(packing.data.new_zeros(layers, packing.batch, size) for size in sizes)

    def _output(self, packing: Packing, data: Tensor) -> Any:
        if packing.batch_sizes is not None:
            return PackedSequence(data, packing.batch_sizes, packing.sorted_indices, packing.unsorted_indices)
        return packing.restored_output(data)


def _in_form_of(mask: Tensor, like: Any) -> Any:
    return PackedSequence(mask, *like[1:]) if isinstance(like, PackedSequence) else mask
