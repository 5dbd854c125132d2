"""The LSTM with layer normalisation, against torch's own normalisation."""

from __future__ import annotations

import torch
from torch.nn.functional import layer_norm

import rnn_diag
from rnn_diag.cells import LayerNormLSTMEquations
from rnn_diag.nn import Recurrent


def test_a_layer_is_the_papers_equations() -> None:
    layer = Recurrent(LayerNormLSTMEquations, 2, 3, bias=False).double()
    inputs = torch.randn(4, 2, 2).double()
    with torch.no_grad():
        layer.shift_l0.normal_()
        layer.gain_hh_l0.normal_()
    h = c = torch.zeros(2, 3).double()
    for x in inputs:
        z = layer_norm(x @ layer.weight_ih_l0.T, (12,), layer.gain_ih_l0)
        z = z + layer_norm(h @ layer.weight_hh_l0.T, (12,), layer.gain_hh_l0) + layer.shift_l0
        i, f, g, o = z.chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * layer_norm(c, (3,), layer.gain_cell_l0, layer.shift_cell_l0).tanh()
    torch.testing.assert_close(layer(inputs)[0][-1], h)


def test_gains_start_at_one_and_the_recording_is_faithful() -> None:
    layer = Recurrent(LayerNormLSTMEquations, 2, 3, num_layers=2).double()
    assert layer.gain_hh_l1.unique().tolist() == [1.0] and layer.shift_l0.unique().tolist() == [0.0]
    with rnn_diag.record(layer) as recording:
        layer(torch.randn(5, 4, 2).double())[0].square().sum().backward()
    assert recording["l0"].fidelity < 1e-12 and recording["l1"].fidelity < 1e-12
