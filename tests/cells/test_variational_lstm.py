"""Recurrent dropout: one mask for a sequence, on what is written."""

from __future__ import annotations

import torch

import rnn_diag
from rnn_diag.cells import VariationalLSTMEquations
from rnn_diag.nn import LSTM, Recurrent


def test_a_sequence_has_one_mask_and_a_dropped_unit_keeps_what_its_forget_gate_leaves() -> None:
    layer = Recurrent(VariationalLSTMEquations(0.5), 2, 20)
    with rnn_diag.record(layer) as recording:
        layer(torch.randn(6, 4, 2).requires_grad_(), (torch.zeros(1, 4, 20), torch.ones(1, 4, 20)))[0].sum().backward()
    trace, mask = recording["l0"], layer.drawn["l0"]
    assert torch.equal(mask, mask[:1].expand_as(mask)) and set(mask.unique().tolist()) == {0.0, 2.0}
    dropped = mask == 0
    torch.testing.assert_close(trace.cell[dropped], trace.gates["forget"].cumprod(0)[dropped])  # type: ignore[index]
    assert trace.is_faithful


def test_every_step_may_have_a_mask_of_its_own() -> None:
    layer = Recurrent(VariationalLSTMEquations(0.5, per_step=True), 2, 20)
    layer(torch.randn(6, 4, 2))
    assert not torch.equal(layer.drawn["l0"][0], layer.drawn["l0"][1])


def test_in_evaluation_it_is_an_lstm() -> None:
    ours, torchs = Recurrent(VariationalLSTMEquations, 2, 3).eval(), LSTM(2, 3)
    torchs.load_state_dict(ours.state_dict())
    inputs = torch.randn(5, 2, 2)
    torch.testing.assert_close(ours(inputs)[0], torchs(inputs)[0])
