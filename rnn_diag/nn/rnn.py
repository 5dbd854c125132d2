"""A stack of plain recurrent layers, with any of four nonlinearities."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rnn_diag.cells.rnn import RNNEquations
from rnn_diag.nn.layer import RecurrentLayer


class RNN(RecurrentLayer, nn.RNN):
    """`torch.nn.RNN` with `nonlinearity` one of tanh, relu, sigmoid, identity; torch has kernels for the first two.

    Arguments and errors are those of `RecurrentLayer`.

    Shape:
        As `torch.nn.RNN`: `(input, h_0) -> (output, h_n)`; tensors, unbatched tensors or a `PackedSequence`.

    Example:
        >>> output, final = RNN(3, 5, nonlinearity="sigmoid")(torch.zeros(7, 2, 3))
        >>> output.shape, final.shape
        (torch.Size([7, 2, 5]), torch.Size([1, 2, 5]))
    """

    equations: RNNEquations

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        backend: str = "auto",
    ) -> None:
        equations = RNNEquations(nonlinearity)
        mode = "RNN_RELU" if nonlinearity == "relu" else "RNN_TANH"
        self.nonlinearity = nonlinearity
        nn.RNNBase.__init__(
            self, mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device=device, dtype=dtype,
        )  # fmt: skip
        self._use(equations, backend)

    def extra_repr(self) -> str:
        """Return what torch shows, and the nonlinearity where it is not tanh."""
        shown = super().extra_repr()
        return shown if self.nonlinearity == "tanh" else f"{shown}, nonlinearity={self.nonlinearity}"
