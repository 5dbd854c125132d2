"""Small networks to examine: a recurrent layer under a loss at its last step or at all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rnn_diag.doctor import Report, examine

FEATURES = 3


def inputs(steps: int = 40, batch: int = 4, scale: float = 1.0) -> Tensor:
    """Return noise, time first, the same at every call."""
    return scale * torch.randn(steps, batch, FEATURES, generator=torch.Generator().manual_seed(3))


def last_step(model: nn.Module, batch: Tensor) -> Tensor:
    return model(batch)[0][-1].square().mean()


def every_step(model: nn.Module, batch: Tensor) -> Tensor:
    return model(batch)[0].square().mean()


def seen(
    model: nn.Module, batch: Tensor | None = None, loss: Callable[..., Tensor] = last_step, **options: float
) -> Report:
    return examine(model, inputs() if batch is None else batch, loss, **options)  # type: ignore[arg-type]


def found(model: nn.Module, batch: Tensor | None = None, loss: Callable[..., Tensor] = last_step) -> list[str]:
    """Return the words of the findings, the worst first."""
    return [finding.id for finding in seen(model, batch, loss).findings]
