"""The minimal GRU by hand."""

from __future__ import annotations

import torch

import rnn_diag
from rnn_diag.cells import MinGRUEquations
from rnn_diag.diagnostics import log_retention
from rnn_diag.nn import Recurrent


def test_gradients_are_the_products_of_the_shares_kept() -> None:
    layer = Recurrent(MinGRUEquations, 2, 3).double()
    with rnn_diag.record(layer) as recording:
        layer(torch.randn(5, 2, 2).double())[0][-1].sum().backward()
    trace = recording["l0"]
    kept = 1 - trace.gates["update"]
    expected = torch.stack([kept[t + 1 :].prod(0) for t in range(5)])
    torch.testing.assert_close(trace.hidden_grad, expected)
    torch.testing.assert_close(log_retention(trace).exp(), expected)
    assert trace.is_faithful and trace.recurrent_weights == {}
