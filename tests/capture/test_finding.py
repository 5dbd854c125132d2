"""A found cell's calls are read as those that it was found by."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnn_diag import record
from rnn_diag.capture.finding import Finding
from rnn_diag.capture.returning import NewInput, Return
from tests.capture.test_discovery import Leaky

FOUND = Finding((Return((0,), (1,), True),), ("hidden",), NewInput((0,), 0, 0))


def test_a_call_is_read_by_its_arguments_in_any_form() -> None:
    x, h, new = torch.ones(3, 6), torch.ones(3, 5), torch.zeros(3, 5)
    for args, kwargs in (((x, h), {}), ((x,), {"h": h}), ((), {"h": h, "x": x})):
        seen = FOUND.seen(Leaky(), args, kwargs, new)
        assert seen.input is x and seen.before == [h] and seen.after["hidden"] is new
    assert FOUND.seen(Leaky(), (x,), {}, new).before == [None]
    assert FOUND.seen(Leaky(), (x, torch.zeros(0)), {}, new).before == [None]
    assert FOUND.seen(Leaky(), (torch.arange(3), h), {}, new).input.shape == (3, 1)


def test_another_call_is_refused_and_told_in_the_table() -> None:
    with pytest.raises(ValueError, match="Leaky was called in another way than before"):
        FOUND.seen(Leaky(), (), {"h": torch.ones(3, 5)}, torch.zeros(3, 5))


def test_the_first_state_may_be_empty() -> None:
    class Membrane(nn.Module):
        def forward(self, x: torch.Tensor, mem: torch.Tensor) -> torch.Tensor:
            return x if not mem.numel() else 0.9 * mem + x

    cell, mem = Membrane(), torch.zeros(0)
    with record(nn.ModuleDict({"cell": cell})) as recording:
        for x in torch.randn(5, 3, 4, requires_grad=True):
            mem = cell(x, mem)
        mem.sum().backward()
    assert recording["cell.l0"].hidden_grad.shape == (5, 3, 4)
