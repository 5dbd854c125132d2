"""The masks that dropout drew between layers: drawn again from the generator's state, read and not advanced."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnn_diag.nn.layer import RecurrentLayer


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
    explicit = isinstance(module, RecurrentLayer) and (module.backend == "explicit" or not module.has_fused_kernel)
    return torch.cuda.get_rng_state(device) if explicit and device.type == "cuda" else None


def redrawn_masks(module: nn.RNNBase, state: Tensor | None, output: Any) -> list[Any] | None:
    """Return the scaled masks that fed layers 1, 2, …, each in the form of the module's output, time first; or None."""
    if state is None:
        return None
    data = output.data if isinstance(output, PackedSequence) else output
    time_first = (
        data.transpose(0, 1)
        if module.batch_first and not isinstance(output, PackedSequence) and data.dim() == 3
        else data
    )
    generator = torch.Generator(data.device)
    generator.set_state(state)
    masks = []
    for _ in range(1, module.num_layers):
        mask = torch.zeros(time_first.shape, dtype=data.dtype, device=data.device)
        if module.dropout < 1:
            mask.bernoulli_(1 - module.dropout, generator=generator).div_(1 - module.dropout)
        masks.append(PackedSequence(mask, *output[1:]) if isinstance(output, PackedSequence) else mask)
    return masks
