"""The precision that measures are taken in: double, on whatever device has it."""

from __future__ import annotations

import torch
from torch import Tensor

from rnn_diag.cells.weights import Weights
from rnn_diag.engine.precision import in_double
from rnn_diag.pending import on_its_way

__all__ = ["in_double", "in_single", "on_cpu", "weights_in_double"]


def in_single(tensor: Tensor) -> Tensor:
    """Return the tensor detached, in float32 at least; on the CPU where its own device has no float64 for sums.

    Example:
        >>> import torch
        >>> in_single(torch.tensor(1.0, dtype=torch.bfloat16)).dtype, in_single(torch.tensor(1.0).double()).dtype
        (torch.float32, torch.float64)
    """
    tensor = tensor.cpu() if tensor.device.type == "mps" else tensor
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32))


def on_cpu(*tensors: Tensor | None) -> list[Tensor]:
    """Return on the CPU what was measured, without those that are None; a GPU is waited for once.

    Example:
        >>> import torch
        >>> on_cpu(torch.ones(1), None)
        [tensor([1.])]
    """
    here, arrive = on_its_way(tensors)
    arrive()
    return [tensor for tensor in here if tensor is not None]


def weights_in_double(weights: Weights) -> Weights:
    """Return the weights detached, in float64."""
    return weights.map(in_double)
