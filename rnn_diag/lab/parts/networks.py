"""Recurrent layers whose weights are given, and what they go through under a loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from rnn_diag.capture import record
from rnn_diag.nn import RNN
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float


def network(
    nonlinearity: str,
    recurrent: float | Float[Tensor, "units units"],
    bias: float = 0.0,
    incoming: float | Float[Tensor, "units features"] = 1.0,
) -> RNN:
    r"""Return :math:`h_t = φ(W h_{t-1} + C x_t + b)` in float64, not to be trained.

    Args:
        nonlinearity: tanh, relu, sigmoid or identity.
        recurrent: W, or the one weight of a single unit.
        bias: b, the same for every unit.
        incoming: C; a number c stands for c times the identity.

    Example:
        >>> network("identity", 0.5)(torch.tensor([[4.0], [0.0]]).double())[0].tolist()
        [[4.0], [2.0]]
    """
    matrix = torch.as_tensor(recurrent, dtype=torch.float64).reshape(_square(recurrent))
    into = incoming if isinstance(incoming, Tensor) else incoming * torch.eye(len(matrix), dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):  # The layer draws weights, which are then replaced.
        made = RNN(into.shape[1], len(matrix), nonlinearity=nonlinearity, dtype=torch.float64).requires_grad_(False)
    made.get_parameter("weight_hh_l0").copy_(matrix)
    made.get_parameter("weight_ih_l0").copy_(into)
    made.get_parameter("bias_ih_l0").fill_(bias)
    made.get_parameter("bias_hh_l0").zero_()
    return made


def one_input(steps: int, size: float = 1.0, features: int = 1) -> Float[Tensor, "time one features"]:
    """Return an input of that size at step 0, followed by zeros."""
    inputs = torch.zeros(steps, 1, features, dtype=torch.float64)
    inputs[0] = size
    return inputs


def gaussian_matrix(units: int, radius: float, seed: int) -> Float[Tensor, "units units"]:
    r"""Return a matrix of independent normal entries with standard deviation :math:`radius / \sqrt{units}`.

    Its spectral radius comes near to `radius` as the units become many.
    """
    generator = torch.Generator().manual_seed(seed)
    entries = torch.randn(units, units, generator=generator, dtype=torch.float64)
    return entries * (radius / math.sqrt(units))


def _square(recurrent: float | Tensor) -> tuple[int, ...]:
    return tuple(recurrent.shape) if isinstance(recurrent, Tensor) else (1, 1)


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


def recorded(
    layer: nn.Module,
    inputs: Float[Tensor, "time batch features"],
    loss_grad: Float[Tensor, "time batch units"],
) -> Trace:
    r"""Return the trace of a layer under the loss :math:`L = \sum_t g_t \cdot h_t`.

    Args:
        layer: A recurrent module with one layer, time first.
        inputs: What it is fed, from a state of zeros.
        loss_grad: g: what the loss itself asks of every state. Steps where it is zero have no loss.

    Example:
        >>> layer = nn.RNN(1, 1, bias=False).double()
        >>> grads = torch.zeros(3, 1, 1).double()
        >>> grads[-1] = 1.0
        >>> recorded(layer, torch.zeros(3, 1, 1).double(), grads).hidden_grad_direct.flatten().tolist()
        [0.0, 0.0, 1.0]
    """
    with torch.enable_grad(), record(layer) as recording:
        hidden, _ = layer(inputs)
        (hidden * loss_grad).sum().backward()
        trace = recording["l0"]
        _ = trace.swept  # reads the gradients while they are there
    layer.zero_grad(set_to_none=True)
    return trace


def at_the_end(steps: int, direction: Float[Tensor, "batch units"]) -> Float[Tensor, "time batch units"]:
    """Return what a loss at the last step alone asks of the states."""
    grads = direction.new_zeros(steps, *direction.shape)
    grads[-1] = direction
    return grads
