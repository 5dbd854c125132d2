"""A stack of GRU layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rnn_diag.cells.gru import GRUEquations
from rnn_diag.nn.layer import RecurrentLayer


class GRU(RecurrentLayer, nn.GRU):
    """`torch.nn.GRU`, run by torch's fused kernel or by this package's explicit equations.

    A large update gate remembers. In the candidate's rows the two biases do not simply add up. Arguments and errors are
    those of `RecurrentLayer`.

    Shape:
        As `torch.nn.GRU`: `(input, h_0) -> (output, h_n)`; tensors, unbatched tensors or a `PackedSequence`.

    Example:
        >>> output, final = GRU(3, 5, bidirectional=True)(torch.zeros(7, 2, 3))
        >>> output.shape, final.shape
        (torch.Size([7, 2, 10]), torch.Size([2, 2, 5]))
    """

    equations: GRUEquations

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
    ) -> None:
        nn.RNNBase.__init__(
            self, "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype,
        )  # fmt: skip
        self._use(GRUEquations(), backend)
