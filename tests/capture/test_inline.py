"""Loops over time that are written inside one forward are named, and shared weights are not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rnn_diag import record
from tests.capture.test_discovery import run


class Tanh(nn.Module):
    """A loop written inline."""

    def __init__(self, new: bool = True) -> None:
        super().__init__()
        self.read, self.recur, self.new = nn.Linear(6, 6), nn.Linear(6, 6), new

    def forward(self, inputs: Tensor) -> Tensor:
        h = inputs[0]
        for x in inputs:
            h = (self.read(x) + self.recur(h)).tanh() if self.new else h + self.recur(h).tanh()
        return h


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_loop_written_inline_is_named(wrapped: bool) -> None:
    model = nn.Sequential(Tanh()) if wrapped else Tanh()
    with record(model) as recording:
        run(model, torch.randn(5, 3, 6))
    (row,) = recording.coverage
    assert (row.layer, row.status) == ("0" if wrapped else "", "not followed")
    assert "a loop over time is written inside Tanh.forward (recur.weight is used 5 times" in row.reason
    assert "move the step into a module of its own" in row.reason


def test_layers_that_share_weights_inline_are_no_loop_over_time() -> None:
    model = Tanh(new=False)
    with record(model) as recording:
        run(model, torch.randn(5, 3, 6))
    assert recording.coverage == []
