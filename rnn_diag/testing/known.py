"""Traces whose numbers can be worked out by hand: the linear recurrence and the LSTM that only forgets."""

from __future__ import annotations

import torch
from torch import Tensor

from rnn_diag.cells import LSTMEquations, RNNEquations, State, Weights
from rnn_diag.trace import OutputGrads, Trace


def linear_trace(matrix: float | list[list[float]] | Tensor, steps: int, batch: int = 1) -> Trace:
    r"""Return what :math:`h_t = W h_{t-1} + x_t` goes through from :math:`h = 1` without input.

    The loss is :math:`L = \sum_j h_{T-1, j}`, so that :math:`∂L/∂h_t = (W^T)^{T-1-t}\, 1`.

    Example:
        >>> linear_trace(0.5, steps=3).hidden_grad.flatten().tolist()
        [0.25, 0.5, 1.0]
    """
    weight = torch.as_tensor(matrix, dtype=torch.float64)
    weight = weight.view(1, 1) if weight.dim() == 0 else weight
    units = len(weight)
    return Trace(
        "l0",
        RNNEquations("identity"),
        Weights(torch.eye(units, dtype=torch.float64), weight),
        inputs=torch.zeros(steps, batch, units, dtype=torch.float64),
        initial=State(torch.ones(batch, units, dtype=torch.float64)),
        output_grads=_loss_at_the_last_step(steps, batch, units),
    )


def forgetting_trace(forget: float, steps: int, units: int = 1, batch: int = 1) -> Trace:
    r"""Return what an LSTM goes through whose forget gate is always `forget` and that writes nothing.

    Input gate shut, output gate wide open, no weights: from :math:`c = 1` it holds :math:`c_t = f^{t+1}`. The loss is
    :math:`L = \sum_j h_{T-1, j}`.

    Example:
        >>> forgetting_trace(0.5, steps=3).cell.flatten().tolist()
        [0.5, 0.25, 0.125]
    """
    shut, wide_open = -800.0, 800.0
    forget_bias = torch.logit(torch.tensor(forget, dtype=torch.float64)).item()
    bias = torch.tensor([shut, forget_bias, 0.0, wide_open], dtype=torch.float64).repeat_interleave(units)
    none = torch.zeros(4 * units, units, dtype=torch.float64)
    return Trace(
        "l0",
        LSTMEquations(),
        Weights(none, none, bias_ih=bias, bias_hh=torch.zeros_like(bias)),
        inputs=torch.zeros(steps, batch, units, dtype=torch.float64),
        initial=State(*torch.stack((torch.zeros(batch, units), torch.ones(batch, units))).double()),
        output_grads=_loss_at_the_last_step(steps, batch, units),
    )


def _loss_at_the_last_step(steps: int, batch: int, units: int) -> OutputGrads:
    grads = torch.zeros(steps, batch, units, dtype=torch.float64)
    grads[-1] = 1.0
    return OutputGrads(grads, State(None, None))  # type: ignore[arg-type]
