"""Small networks to examine: a recurrent layer under a loss at its last step or at all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import rnn_diag.nn
from rnn_diag.doctor import Report, examine
from rnn_diag.interventions.initialization import chrono, orthogonal_per_gate

FEATURES = 3
UNITS = 16


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


def lstm(**options: int) -> nn.LSTM:
    return nn.LSTM(FEATURES, UNITS, **options)  # type: ignore[arg-type]


def rnn(**options: str) -> nn.RNN:
    return nn.RNN(FEATURES, UNITS, **options)  # type: ignore[call-overload, no-any-return]


def turning() -> nn.RNN:
    """Return a recurrence that keeps the length of a small state: orthogonal, without biases."""
    layer = nn.RNN(FEATURES, UNITS, bias=False)
    orthogonal_per_gate(layer)
    return layer


def linear(matrix: list[list[float]] | Tensor) -> nn.Module:
    """Return `h_t = W h_{t-1} + x_t`."""
    weight = torch.as_tensor(matrix)
    layer = rnn_diag.nn.RNN(FEATURES, len(weight), nonlinearity="identity")
    with torch.no_grad():
        layer.weight_hh_l0.copy_(weight)
    return layer


@torch.no_grad()
def with_bias(layer: nn.LSTM, gate: int, value: float, places: tuple[str, ...] = ("bias_ih_l0",)) -> nn.LSTM:
    for name in places:
        getattr(layer, name)[gate * UNITS : (gate + 1) * UNITS] = value
    return layer


def keeping(layer: nn.Module, longest: int = 40) -> nn.Module:
    chrono(layer, longest)
    return layer
