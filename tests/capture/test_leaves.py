"""Tensors are found in whatever holds them, and by what was concatenated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnn_diag import record
from rnn_diag.capture.leaves import arguments, as_it_is, at, leaves, split, written
from tests.capture.test_discovery import Leaky


def test_parts_of_a_concatenation_are_found_by_their_sizes() -> None:
    h = torch.ones(2, 3, requires_grad=True).exp()
    (x, state) = split(leaves((torch.cat((torch.zeros(2, 4), h), -1),))).items()
    assert x[0][1:] == ((1, 0, 4),) and state[0][1:] == ((1, 4, 3),)
    assert x[1].edge is None and state[1].edge == leaves(h)[()].edge
    assert torch.equal(state[1].value, h.detach()) and written(state[0]) == "0[part]"


def test_arguments_have_their_positions_however_they_are_passed() -> None:
    cell = Leaky()
    assert arguments(cell, (1,), {"h": 2}) == arguments(cell, (), {"h": 2, "x": 1}) == {0: 1, 1: 2}
    assert arguments(cell, (1, 2), {"other": 3}) == {0: 1, 1: 2, "other": 3}


def test_what_was_held_stays_when_its_container_changes() -> None:
    held = {"h": [torch.ones(2), 3]}
    copy = as_it_is(held)
    held["h"][0] = None  # type: ignore[call-overload]
    assert at(copy, ("h", 0)) is not None and at(held, ("h", 0)) is None and at(copy, ("h", 1)) is None


class Object:
    """Holds a state."""

    def __init__(self, h: Tensor) -> None:
        self.h = h


@pytest.mark.parametrize("kind", [Object, lambda h: SimpleNamespace(h=h)])
def test_a_state_may_be_in_any_object_that_only_holds_it(kind: Any) -> None:
    class Held(Leaky):
        def forward(self, x: Tensor, state: Any) -> Any:
            return kind(super().forward(x, state.h))

    cell, state = Held(), kind(torch.zeros(2, 5))
    with record(nn.ModuleDict({"cell": cell})) as recording:
        for x in torch.randn(5, 2, 6):
            state = cell(x, state)
        state.h.sum().backward()
    assert "output 'h' returns as input 1['h']" in recording.coverage[0].reason
