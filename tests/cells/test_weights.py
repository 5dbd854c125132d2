"""The parameters of one layer, by torch's names."""

from __future__ import annotations

import torch
from torch import nn

import rnn_diag.nn as own
from rnn_diag.cells.peephole_lstm import PEEPHOLES
from rnn_diag.cells.weights import TORCHS_NAMES, Weights, weights_of


def test_names_and_parameters_go_there_and_back() -> None:
    weights = weights_of(nn.LSTM(2, 3, proj_size=1), "l0")
    assert tuple(weights.present()) == TORCHS_NAMES
    assert Weights.from_names(weights.present()) == weights
    assert tuple(weights_of(nn.GRU(2, 3, bias=False), "l0").present()) == ("weight_ih", "weight_hh")


def test_a_direction_has_its_own_and_extra_parameters_come_along() -> None:
    module = own.PeepholeLSTM(2, 3, num_layers=2, bidirectional=True)
    weights = weights_of(module, "l1_reverse")
    assert weights.weight_hh is module.weight_hh_l1_reverse
    assert set(weights.extra) == set(PEEPHOLES)
    assert all(value is getattr(module, f"{name}_l1_reverse") for name, value in weights.extra.items())


def test_copies_are_left_alone_by_later_steps_and_detached() -> None:
    module = nn.GRU(2, 3)
    copy = weights_of(module, "l0").copy()
    before = copy.weight_hh.clone()
    with torch.no_grad():
        module.weight_hh_l0.zero_()
    assert torch.equal(copy.weight_hh, before) and not copy.weight_hh.requires_grad
    assert weights_of(module, "l0").to(torch.float64).bias_hh.dtype == torch.float64


def test_what_is_emitted_is_projected_where_there_is_a_projection() -> None:
    emitted = torch.randn(5, 3)
    module = nn.LSTM(2, 3, proj_size=1)
    torch.testing.assert_close(weights_of(module, "l0").project(emitted), emitted @ module.weight_hr_l0.T)
    assert weights_of(nn.LSTM(2, 3), "l0").project(emitted) is emitted
