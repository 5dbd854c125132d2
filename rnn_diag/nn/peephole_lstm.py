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
    are), and the other way round with the peepholes left out.

    Args:
        input_size: Features per step.
        hidden_size: Units.
        num_layers: Layers, each fed by the one below.
        bias: Whether there are `bias_ih_*` and `bias_hh_*`, which add up.
        batch_first: Input and output are `[B, T, ·]`, not `[T, B, ·]`; states never are.
        dropout: Probability of zeroing an element between layers, in training.
        bidirectional: A second direction reads the sequence from its end.
        backend: `"auto"` and `"explicit"` are the same here; `"fused"` raises.
        device, dtype: Of the parameters.
        h_detach: Accepted as 0 alone, for checkpoints of the time when there was h-detach.

    Shape:
        As `torch.nn.LSTM`: `(input, (h_0, c_0)) -> (output, (h_n, c_n))`.

    Raises:
        ValueError, RuntimeError, TypeError: What torch's module raises, for the same mistakes.

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
