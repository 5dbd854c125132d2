"""How modules are written in code: what is written is evaluated, and must be the module."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from rnn_diag.capture.written import modules_of
from rnn_diag.doctor import examine

Pair = namedtuple("Pair", ["one", "other"])


@dataclass
class Parts:
    """Two modules in an object that is no module."""

    slow: nn.Module
    fast: Any


def test_what_is_written_is_the_module_whatever_holds_it():
    model = nn.Module()
    model.listed = nn.ModuleList([nn.Sequential(nn.Linear(2, 2), nn.GRU(2, 2))])
    model.named = nn.ModuleDict({"a-b": nn.GRU(2, 2), "forward_pass": nn.GRU(2, 2)})
    model.add_module("0", nn.GRU(2, 2))
    model.add_module("class", nn.GRU(2, 2))
    model.nested = [[nn.GRU(2, 2), nn.GRU(2, 2)], (nn.GRU(2, 2), 3)]
    model.by_key = {"x y": {0: nn.GRU(2, 2)}}
    model.parts = Parts(nn.GRU(2, 2), [nn.ModuleList([nn.GRU(2, 2)])])
    model.pair = Pair(nn.GRU(2, 2), SimpleNamespace(deep=nn.GRU(2, 2)))
    model.again = [model.listed[0][1]]  # torch knows it
    found = list(modules_of(model))
    assert all(eval(one.written, {"model": model}) is one.module for one in found)
    rnns = [one for one in found if isinstance(one.module, nn.GRU)]
    assert len(rnns) == 13 and sum(one.is_hidden for one in rnns) == 8
    assert len({one.path for one in found}) == len(found)


@pytest.mark.parametrize(
    ("held", "mend"),
    [
        ([nn.LSTM(3, 4)], "model.held = torch.nn.ModuleList(model.held)"),
        ((nn.LSTM(3, 4),), "model.held = torch.nn.ModuleList(model.held)"),
        ({"top": nn.LSTM(3, 4)}, "model.held = torch.nn.ModuleDict(model.held)"),
        ([[nn.LSTM(3, 4)]], ""),
        ({0: nn.LSTM(3, 4)}, ""),
        (Parts(nn.LSTM(3, 4), None), ""),
    ],
    ids=["list", "tuple", "dict", "list of lists", "dict by number", "dataclass"],
)
def test_a_layer_in_any_container_is_found_and_what_mends_it_runs(held, mend):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.held = held
            self.head = nn.Linear(4, 1)

        def forward(self, inputs):
            (one,) = (one.module for one in modules_of(self) if isinstance(one.module, nn.LSTM))
            return self.head(one(inputs)[0][-1])

    model = Model()
    report = examine(model, torch.randn(12, 5, 3), lambda model, batch: model(batch).square().mean())
    (finding,) = report.of("not_optimized")
    assert finding.call == mend
    if mend:
        exec(mend, {"model": model, "torch": torch})
        assert not any(one.is_hidden for one in modules_of(model))
