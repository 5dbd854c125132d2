"""A stack of peephole LSTM layers, which no fused kernel of torch can run."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rnn_diag.cells.peephole_lstm import PeepholeLSTMEquations
from rnn_diag.nn.layer import RecurrentLayer


class PeepholeLSTM(RecurrentLayer, nn.LSTM):
    """`torch.nn.LSTM` whose gates see the memory, through `weight_ci_l0`, `weight_cf_l0`, `weight_co_l0`, each `[H]`.

    With all three at zero it is an LSTM. An LSTM's `state_dict` loads with `strict=False` (the peepholes stay as they
    are), and the other way round with the peepholes left out. Arguments and errors are those of `RecurrentLayer`;
    torch has no kernel, so the equations are always run.

    Shape:
        As `torch.nn.LSTM`: `(input, (h_0, c_0)) -> (output, (h_n, c_n))`.

    Example:
        >>> layer = PeepholeLSTM(3, 5)
        >>> layer.weight_ci_l0.shape
        torch.Size([5])
    """

    equations: PeepholeLSTMEquations

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        backend: str = "auto",
        h_detach: float = 0.0,
    ) -> None:
        nn.RNNBase.__init__(
            self, "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype,
        )  # fmt: skip
        self._use(PeepholeLSTMEquations(), backend, h_detach)
