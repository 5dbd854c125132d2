"""By what gradients are about to be multiplied when Lightning clips them."""

from __future__ import annotations

import math
from typing import Any

import torch


@torch.no_grad()
def clip_factor(optimizer: Any, clip_value: float, algorithm: str = "norm") -> float:
    """Return the length of the clipped gradient over its length before; 1 where nothing is clipped.

    Args:
        optimizer: Whose parameters are clipped together.
        clip_value: `Trainer(gradient_clip_val=...)`.
        algorithm: `norm` scales the whole gradient, `value` cuts each entry.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> clip_factor(torch.optim.SGD([weight]), 1.0)
        0.2
    """
    grads = [one.grad for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
    if not grads:
        return math.nan
    norm = _norm(grads)
    if not (math.isfinite(norm) and norm > 0):
        return math.nan
    if algorithm.endswith("value"):
        return min(1.0, _norm([grad.clamp(-clip_value, clip_value) for grad in grads]) / norm)
    return min(1.0, clip_value / norm)


def _norm(grads: list[torch.Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(grad.float()) for grad in grads])))
