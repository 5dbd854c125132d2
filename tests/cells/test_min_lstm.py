"""The minimal LSTM by hand."""

from __future__ import annotations

import torch

import rnn_diag
from rnn_diag.cells import MinLSTMEquations
from rnn_diag.diagnostics import log_retention
from rnn_diag.nn import Recurrent


def test_both_gates_share_out_one_whole_and_gradients_are_the_products_of_what_is_kept() -> None:
    layer = Recurrent(MinLSTMEquations, 2, 3).double()
    with rnn_diag.record(layer) as recording:
        layer(torch.randn(5, 2, 2).double())[0][-1].sum().backward()
    trace = recording["l0"]
    z_i, z_f = (trace.preactivations[name].sigmoid() for name in ("input", "forget"))
    torch.testing.assert_close(trace.gates["forget"], z_f / (z_f + z_i))
    torch.testing.assert_close(trace.gates["input"] + trace.gates["forget"], torch.ones(5, 2, 3).double())
    expected = torch.stack([trace.gates["forget"][t + 1 :].prod(0) for t in range(5)])
    torch.testing.assert_close(trace.hidden_grad, expected)
    torch.testing.assert_close(log_retention(trace).exp(), expected)
    assert trace.is_faithful
