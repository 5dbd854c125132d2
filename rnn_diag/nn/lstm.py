"""A stack of LSTM layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rnn_diag.cells.lstm import LSTMEquations
from rnn_diag.nn.layer import RecurrentLayer


class LSTM(RecurrentLayer, nn.LSTM):
    """`torch.nn.LSTM`, run by torch's fused kernel or by this package's explicit equations.

    Arguments and errors are those of `RecurrentLayer`.

    Shape:
        As `torch.nn.LSTM`: `(input, (h_0, c_0)) -> (output, (h_n, c_n))`; tensors, unbatched tensors or a
        `PackedSequence`.

    Example:
        >>> layer = LSTM(3, 5, num_layers=2, backend="explicit")
        >>> _ = layer.load_state_dict(nn.LSTM(3, 5, num_layers=2).state_dict())
        >>> output, (h, c) = layer(torch.zeros(7, 2, 3))
        >>> output.shape, h.shape, c.shape
        (torch.Size([7, 2, 5]), torch.Size([2, 2, 5]), torch.Size([2, 2, 5]))
    """

    equations: LSTMEquations

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: torch.dtype | None = None,
        backend: str = "auto",
        h_detach: float = 0.0,
    ) -> None:
        nn.RNNBase.__init__(
            self, "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size,
            device=device, dtype=dtype,
        )  # fmt: skip
        self._use(LSTMEquations(), backend, h_detach)
