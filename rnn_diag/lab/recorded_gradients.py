"""What a layer goes through when a loss is differentiated: the trace, recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rnn_diag.capture import record
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float


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
