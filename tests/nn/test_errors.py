"""The explicit layers raise torch's errors, in torch's words, for the same mistakes."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_diag import nn as ours

NAMES = ("RNN", "LSTM", "GRU")
CONSTRUCTIONS: dict[str, dict[str, Any]] = {
    "no units": {"hidden_size": 0},
    "negative units": {"hidden_size": -2},
    "fractional units": {"hidden_size": 2.5},
    "no features": {"input_size": 0},
    "features in words": {"input_size": "three"},
    "no layers": {"num_layers": 0},
    "dropout above 1": {"dropout": 2.0},
    "dropout true": {"dropout": True},
    "bias 1": {"bias": 1},
    "batch_first None": {"batch_first": None},
}


def state(name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Any:
    zeros = torch.zeros(shape, dtype=dtype)
    return (zeros, zeros) if name == "LSTM" else zeros


def packed(features: int, enforce_sorted: bool = True) -> Any:
    lengths = [4, 3, 1] if enforce_sorted else [1, 4, 3]
    return pack_padded_sequence(torch.zeros(4, 3, features), lengths, enforce_sorted=enforce_sorted)


X = torch.zeros(4, 3, 2)
CALLS: dict[str, Any] = {
    "input with one axis": lambda name: (torch.zeros(2),),
    "input with four axes": lambda name: (torch.zeros(1, 4, 3, 2),),
    "too few features": lambda name: (torch.zeros(4, 3, 1),),
    "too few features in one sequence": lambda name: (torch.zeros(4, 1),),
    "double input": lambda name: (X.double(),),
    "integer input": lambda name: (X.long(),),
    "no steps": lambda name: (X[:0],),
    "state of another batch": lambda name: (X, state(name, 1, 2, 5)),
    "state of more layers": lambda name: (X, state(name, 2, 3, 5)),
    "state of other units": lambda name: (X, state(name, 1, 3, 4)),
    "state of one sequence for a batch": lambda name: (X, state(name, 1, 5)),
    "state of a batch for one sequence": lambda name: (X[:, 0], state(name, 1, 1, 5)),
}


def error(make: Any) -> BaseException:
    with warnings.catch_warnings(), pytest.raises((ValueError, TypeError, RuntimeError)) as raised:
        warnings.simplefilter("ignore")
        make()
    return raised.value


@pytest.mark.parametrize("mistake", CONSTRUCTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_wrong_constructor_arguments(name: str, mistake: str) -> None:
    arguments = {"input_size": 2, "hidden_size": 5} | CONSTRUCTIONS[mistake]
    torchs, found = (error(lambda library=library: getattr(library, name)(**arguments)) for library in (nn, ours))
    assert type(found) is type(torchs) and str(found) == str(torchs)


@pytest.mark.parametrize("proj_size", [-1, 5])
def test_wrong_proj_size(proj_size: int) -> None:
    torchs, found = (error(lambda library=library: library.LSTM(2, 5, proj_size=proj_size)) for library in (nn, ours))
    assert type(found) is type(torchs) and str(found) == str(torchs)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("mistake", CALLS)
@pytest.mark.parametrize("name", NAMES)
def test_wrong_inputs_and_states(name: str, mistake: str, batch_first: bool) -> None:
    arguments = CALLS[mistake](name)
    if batch_first and isinstance(arguments[0], Tensor) and arguments[0].dim() == 3:
        arguments = (arguments[0].transpose(0, 1), *arguments[1:])
    torchs = error(lambda: getattr(nn, name)(2, 5, batch_first=batch_first)(*arguments))
    found = error(lambda: getattr(ours, name)(2, 5, batch_first=batch_first, backend="explicit")(*arguments))
    assert type(found) is type(torchs) and str(found) == str(torchs)


@pytest.mark.parametrize("enforce_sorted", [True, False])
@pytest.mark.parametrize("name", ["RNN", "GRU"])  # torch's LSTM lets its kernel stumble here
def test_wrong_packed_inputs_and_states(name: str, enforce_sorted: bool) -> None:
    for arguments in ((packed(1, enforce_sorted),), (packed(2, enforce_sorted), state(name, 1, 2, 5))):
        if len(arguments) == 2 and not enforce_sorted:
            continue  # the state is indexed by sequence before anything is checked
        torchs = error(lambda arguments=arguments: getattr(nn, name)(2, 5)(*arguments))
        found = error(lambda arguments=arguments: getattr(ours, name)(2, 5, backend="explicit")(*arguments))
        assert type(found) is type(torchs) and str(found) == str(torchs)


def test_packed_mistakes_are_named_in_an_lstm_too() -> None:
    layer = ours.LSTM(2, 5, backend="explicit")
    with pytest.raises(RuntimeError, match=r"Expected 2, got 1"):
        layer(packed(1))
    with pytest.raises(RuntimeError, match=r"Expected hidden\[0\] size \(1, 3, 5\), got \[1, 2, 5\]"):
        layer(packed(2), state("LSTM", 1, 2, 5))


@pytest.mark.parametrize("name", NAMES)
def test_a_state_of_another_dtype(name: str) -> None:
    given = state(name, 1, 3, 5, dtype=torch.float64)
    assert isinstance(error(lambda: getattr(nn, name)(2, 5)(X, given)), RuntimeError)
    found = error(lambda: getattr(ours, name)(2, 5, backend="explicit")(X, given))
    assert isinstance(found, RuntimeError)
    assert "same dtype, but got torch.float32 and torch.float64" in str(found)


def test_one_state_for_an_lstm() -> None:
    with pytest.raises(RuntimeError, match="LSTM expects two hidden states, got 1"):
        ours.LSTM(2, 5, backend="explicit")(X, torch.zeros(1, 3, 5))


def test_wrong_choices_name_the_choices() -> None:
    with pytest.raises(ValueError, match="backend='cudnn'; choices: auto, explicit, fused"):
        ours.GRU(2, 3, backend="cudnn")
    with pytest.raises(ValueError, match="nonlinearity='elu'; choices: tanh, relu, sigmoid, identity"):
        ours.RNN(2, 3, nonlinearity="elu")
    with pytest.raises(ValueError, match=r"no kernel for RNN\(2, 3, nonlinearity=sigmoid\); choices: auto, explicit"):
        ours.RNN(2, 3, nonlinearity="sigmoid", backend="fused")
