"""The peephole LSTM's written backward pass against autograd on plain operations and against finite differences."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rnn_diag.lab.parts.networks import blank_layer, recorded
from rnn_diag.nn import PeepholeLSTM

_STEP = 1e-6
_STEPS, _BATCH, _FEATURES, _UNITS = 12, 3, 2, 5


class BackwardErrors(NamedTuple):
    """Largest errors, relative to the largest entry of what is compared.

    Attributes:
        weights: Of all parameters' gradients, against autograd.
        states: Of `∂L/∂h_t` and `∂L/∂c_t` in the trace, against autograd.
        differences: Of all parameters' gradients, against central differences of the loss.
    """

    weights: float
    states: float
    differences: float


def backward_errors(seed: int) -> BackwardErrors:
    """Return how far the written backward pass is from both, on random weights, inputs and loss.

    Args:
        seed: Of all three.
    """
    generator = torch.Generator().manual_seed(seed)
    layer = blank_layer(PeepholeLSTM, _FEATURES, _UNITS).requires_grad_()
    for parameter in layer.parameters():
        parameter.data.normal_(std=0.5, generator=generator)
    inputs = torch.randn(_STEPS, _BATCH, _FEATURES, generator=generator, dtype=torch.float64)
    loss_grad = torch.randn(_STEPS, _BATCH, _UNITS, generator=generator, dtype=torch.float64)
    trace = recorded(layer, inputs, loss_grad)
    assert trace.cell_grad is not None
    (layer(inputs)[0] * loss_grad).sum().backward()
    written = {
        name: parameter.grad.clone() for name, parameter in layer.named_parameters() if parameter.grad is not None
    }
    hidden, cell = _unrolled(layer, inputs)
    layer.zero_grad()
    sum((h * g).sum() for h, g in zip(hidden, loss_grad, strict=True)).backward()
    by_autograd = {name: parameter.grad for name, parameter in layer.named_parameters() if parameter.grad is not None}
    states = [(trace.hidden_grad, torch.stack([_grad(h) for h in hidden]))]
    states.append((trace.cell_grad, torch.stack([_grad(c) for c in cell])))
    by_differences = {name: _differences(layer, name, inputs, loss_grad) for name in written}
    return BackwardErrors(
        max(_error(written[name], by_autograd[name]) for name in written),
        max(_error(*pair) for pair in states),
        max(_error(written[name], by_differences[name]) for name in written),
    )


def _unrolled(layer: PeepholeLSTM, inputs: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return the states by plain operations, each of which keeps its gradient."""
    w = {name.removesuffix("_l0"): parameter for name, parameter in layer.named_parameters()}
    h = c = inputs.new_zeros(inputs.shape[1], layer.hidden_size)
    hidden: list[Tensor] = []
    cell: list[Tensor] = []
    for x in inputs:
        summed = x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]
        z_i, z_f, z_g, z_o = summed.chunk(4, dim=-1)
        i, f = torch.sigmoid(z_i + w["weight_ci"] * c), torch.sigmoid(z_f + w["weight_cf"] * c)
        c = f * c + i * torch.tanh(z_g)
        h = torch.sigmoid(z_o + w["weight_co"] * c) * torch.tanh(c)
        for state, kept in ((h, hidden), (c, cell)):
            state.retain_grad()
            kept.append(state)
    return hidden, cell


def _grad(state: Tensor) -> Tensor:
    assert state.grad is not None
    return state.grad


@torch.no_grad()
def _differences(layer: PeepholeLSTM, name: str, inputs: Tensor, loss_grad: Tensor) -> Tensor:
    entries = layer.get_parameter(name).view(-1)
    found = torch.empty_like(entries)
    for k in range(len(entries)):
        value, losses = float(entries[k]), []
        for step in (_STEP, -_STEP):
            entries[k] = value + step
            losses.append(float((layer(inputs)[0] * loss_grad).sum()))
        entries[k] = value
        found[k] = (losses[0] - losses[1]) / (2 * _STEP)
    return found.view_as(layer.get_parameter(name))


def _error(measured: Tensor, expected: Tensor) -> float:
    return float((measured - expected).abs().max() / expected.abs().max())
