"""A recurrent module alone has a trace: its own forward pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rnn_diag.nn
from rnn_diag.diagnostics import impulse_response, module_trace


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU, rnn_diag.nn.PeepholeLSTM])
def test_the_states_are_those_of_the_module(kind):
    module, inputs = kind(3, 4).double(), torch.randn(6, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(module_trace(module, inputs).hidden, module(inputs)[0].detach(), rtol=0, atol=1e-12)


def test_a_reverse_direction_reads_from_the_end():
    module, inputs = nn.GRU(3, 4, bidirectional=True).double(), torch.randn(6, 2, 3, dtype=torch.float64)
    expected = module(inputs)[0][..., 4:].detach()
    torch.testing.assert_close(module_trace(module, inputs, "l0_reverse").hidden, expected, rtol=0, atol=1e-12)


def test_a_leaking_module_answers_a_kick_by_its_leak():
    module = rnn_diag.nn.RNN(1, 1, bias=False, nonlinearity="identity")
    module.weight_ih_l0.data.fill_(1.0)
    module.weight_hh_l0.data.fill_(0.5)
    found = impulse_response(module)
    torch.testing.assert_close(found.response[:3, 0], torch.tensor([1.0, 0.5, 0.25], dtype=torch.float64))
    assert found.verdicts == ("forgets",)


@pytest.mark.parametrize(
    ("module", "options", "error", "said"),
    [
        (nn.Linear(2, 2), {}, TypeError, "Linear is no recurrent module"),
        (nn.GRU(2, 2), {"layer": "l7"}, ValueError, "no layer 'l7' in this GRU; choices: l0"),
        (nn.GRU(2, 2), {"inputs": torch.zeros(5, 1, 3)}, ValueError, r"shape \(5, 1, 3\); expected \(time, batch, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused(module, options, error, said):
    with pytest.raises(error, match=said):
        module_trace(module, **options)
