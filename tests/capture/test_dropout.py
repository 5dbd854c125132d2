from __future__ import annotations

import pytest
import torch
from torch import nn

import rnn_diag.nn
from rnn_diag import record
from rnn_diag.capture import dropout


def make(name: str) -> nn.RNNBase:
    kind, explicit = name.split()[-1], name.startswith("explicit")
    options = {"dropout": 0.4, "bidirectional": True, "batch_first": True, "dtype": torch.float64}
    if explicit:
        return getattr(rnn_diag.nn, kind)(3, 4, 3, backend="explicit", **options)
    return getattr(nn, kind)(3, 4, 3, **options)


@pytest.mark.parametrize("packed", [False, True], ids=["tensor", "packed"])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN", "explicit LSTM", "explicit GRU"])
def test_masks_between_layers_are_drawn_again_exactly(name: str, packed: bool) -> None:
    module, inputs = make(name), torch.randn(3, 6, 3, dtype=torch.float64)
    if packed:
        inputs = nn.utils.rnn.pack_padded_sequence(inputs, [3, 6, 4], batch_first=True, enforce_sorted=False)
    with record(module) as recording:
        output, _ = module(inputs)
        (output.data if packed else output).pow(2).sum().backward()
    assert len(recording) == 6
    assert all(trace.fidelity < 1e-13 for trace in recording.values())
    # A third of the units reach the layer above as zeros, the others scaled up.
    dropped = recording["l1"].inputs[recording["l1"].mask] == 0
    assert 0.2 < float(dropped.double().mean()) < 0.6


@pytest.mark.parametrize("name", ["LSTM", "explicit GRU"])
def test_drawing_masks_again_leaves_the_random_stream_alone(name: str) -> None:
    module, inputs = make(name), torch.randn(3, 6, 3, dtype=torch.float64)
    streams, outputs = [], []
    for recorded in (False, True):
        torch.manual_seed(3)
        if recorded:
            with record(module) as recording:
                outputs.append(module(inputs)[0])
            _ = recording["l2"].inputs
        else:
            outputs.append(module(inputs)[0])
        streams.append(torch.get_rng_state())
    assert torch.equal(*streams)
    assert torch.equal(*outputs)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_dropping_nothing_and_dropping_everything_are_exact(probability: float) -> None:
    module = nn.GRU(3, 4, 2, dropout=probability).double()
    with record(module) as recording:
        module(torch.randn(5, 2, 3, dtype=torch.float64))[0].sum().backward()
    assert bool((recording["l1"].inputs == 0).all()) == (probability == 1.0)
    assert recording["l1"].fidelity < 1e-13
    if probability == 1.0:
        assert recording["l0"].fidelity is None and "zero on both sides" in recording["l0"].fidelity_reason
    else:
        assert recording["l0"].fidelity < 1e-13


def test_a_mask_that_nobody_can_know_is_said_and_no_number_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropout, "generator_state", lambda module: None)  # as for cuDNN
    module = nn.LSTM(3, 4, 2, dropout=0.5)
    with record(module) as recording:
        module(torch.randn(5, 2, 3))[0].sum().backward()
    assert list(recording) == []
    assert [row.status for row in recording.coverage] == ["not followed", "not followed"]
    assert "exact_dropout=True" in recording.coverage[0].reason
    module.eval()
    with record(module) as recording:
        module(torch.randn(5, 2, 3))[0].sum().backward()
    assert recording["l0"].fidelity < 1e-5


def test_exact_dropout_knows_the_masks_that_a_kernel_would_keep_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropout, "generator_state", lambda module: None)
    module = make("LSTM")
    with record(module, exact_dropout=True) as recording:
        module(torch.randn(3, 6, 3, dtype=torch.float64))[0].pow(2).sum().backward()
    assert len(recording) == 6
    assert all(trace.fidelity < 1e-13 for trace in recording.values())
