"""Which equations a module runs, and what its layers are called."""

from __future__ import annotations

import pytest
from torch import nn

import rnn_diag.nn as own
from rnn_diag.cells.of_module import equations_of, recurrent_modules, suffixes_of


@pytest.mark.parametrize(
    ("module", "name", "nonlinearity"),
    [
        (nn.LSTM(2, 3), "lstm", None),
        (nn.LSTMCell(2, 3), "lstm", None),
        (nn.GRU(2, 3), "gru", None),
        (nn.GRUCell(2, 3), "gru", None),
        (nn.RNN(2, 3), "rnn", "tanh"),
        (nn.RNN(2, 3, nonlinearity="relu"), "rnn", "relu"),
        (nn.RNNCell(2, 3, nonlinearity="relu"), "rnn", "relu"),
        (own.PeepholeLSTM(2, 3), "peephole_lstm", None),
        (own.RNN(2, 3, nonlinearity="identity"), "rnn", "identity"),
    ],
)
def test_every_module_of_torch_and_of_this_package_has_its_equations(
    module: nn.Module, name: str, nonlinearity: str | None
) -> None:
    equations = equations_of(module)
    assert equations is not None and equations.name == name
    assert getattr(equations, "nonlinearity", None) == nonlinearity


@pytest.mark.parametrize("module", [nn.Linear(2, 3), nn.Sequential(nn.LSTM(2, 3)), nn.MultiheadAttention(2, 1)])
def test_what_is_not_recurrent_itself_has_none(module: nn.Module) -> None:
    assert equations_of(module) is None


def test_layers_are_called_as_torch_calls_their_parameters() -> None:
    module = nn.LSTM(2, 3, num_layers=2, bidirectional=True)
    assert suffixes_of(module) == ("l0", "l0_reverse", "l1", "l1_reverse")
    assert all(hasattr(module, f"weight_hh_{suffix}") for suffix in suffixes_of(module))
    assert suffixes_of(nn.GRUCell(2, 3)) == ("l0",)


def test_a_module_that_is_held_twice_comes_once() -> None:
    shared = nn.GRU(2, 2)
    model = nn.ModuleDict({"a": shared, "b": shared, "c": nn.ModuleList([nn.RNN(2, 2)])})
    assert [module for module, _ in recurrent_modules(model)] == [shared, model["c"][0]]
