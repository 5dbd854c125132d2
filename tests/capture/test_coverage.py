"""How a layer was captured, in words."""

from __future__ import annotations

import torch
from torch import nn

from rnn_diag import record


def test_a_call_without_a_graph_is_left_out_where_others_have_one_and_that_is_said() -> None:
    module = nn.GRU(3, 4)
    with record(module) as recording:
        module(torch.randn(5, 2, 3))[0].sum().backward()
        with torch.no_grad():
            module(torch.randn(7, 2, 3))
    assert len(recording["l0"].hidden) == 5
    assert recording.coverage[0].reason.startswith(
        "1 call read as 1 batch of sequences, 1 call without a graph left out;"
    )


def test_a_module_that_did_not_run_says_so() -> None:
    model = nn.ModuleList([nn.GRU(2, 2), nn.GRU(2, 2)])
    with record(model) as recording:
        model[0](torch.randn(3, 2, 2))[0].sum().backward()
    assert [row.status for row in recording.coverage] == ["exact", "never ran"]
    assert list(recording) == ["0.l0"]
