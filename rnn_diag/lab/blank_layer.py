"""A layer without weights: all of them zero, to be set by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

Layer = TypeVar("Layer", bound=nn.Module)


def blank_layer(kind: Callable[..., Layer], input_size: int, hidden_size: int, **options: Any) -> Layer:
    """Return a recurrent layer in float64 whose parameters are zero and not to be trained.

    Args:
        kind: `GRU`, `LSTM`, …
        input_size: Features per step.
        hidden_size: Units.
        **options: Further arguments of its constructor.

    Example:
        >>> blank_layer(nn.GRU, 1, 2)(torch.ones(3, 1).double(), torch.ones(1, 2).double())[0].tolist()
        [[0.5, 0.5], [0.25, 0.25], [0.125, 0.125]]
    """
    with torch.random.fork_rng(devices=[]):  # The constructor draws weights, which are then replaced.
        made = kind(input_size, hidden_size, dtype=torch.float64, **options).requires_grad_(False)
    for parameter in made.parameters():
        parameter.zero_()
    return made
