"""What weights say: biases at once, spectra when they are completed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from rnn_diag.capture import record
from rnn_diag.measurements.layer import AS_TRAINED
from rnn_diag.measurements.weights import MeasureWeights, WeightNumbers
from rnn_diag.trace import Trace


def trace_of(layer: nn.Module) -> Trace:
    with record(layer) as recording:
        layer(torch.randn(3, 2, 2))
    return recording["l0"]


def test_the_bias_of_the_gate_that_remembers_is_known_before_the_spectra() -> None:
    layer = nn.GRU(2, 4)
    with torch.no_grad():
        layer.bias_ih_l0[4:8] = torch.tensor([1.0, 2.0, 3.0, 4.0])
        layer.bias_hh_l0[4:8] = 0.25
    numbers = WeightNumbers.of(trace_of(layer))
    assert numbers.bias == pytest.approx((2.5, 0.25, math.sqrt(1.25), 0.0))
    assert numbers.forget_bias == 2.75
    assert numbers.numbers == {}


def test_spectra_are_computed_from_copies_that_are_then_dropped() -> None:
    layer = nn.RNN(2, 2)
    with torch.no_grad():
        layer.weight_hh_l0.copy_(torch.diag(torch.tensor([0.5, -0.75])))
    begun = MeasureWeights().of(trace_of(layer), AS_TRAINED)
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
    done = MeasureWeights().complete(begun)
    assert done.numbers["hidden/spectral_radius"] == pytest.approx(0.75)
    assert done.plain is not None and done.plain.transient_growth == pytest.approx(1.0)
    assert done.matrices == {}


def test_transient_numbers_are_logged_only_where_they_were_asked_for() -> None:
    trace = trace_of(nn.RNN(2, 3))
    assert "hidden/log10_transient_growth" not in WeightNumbers.of(trace).completed().numbers
    assert "hidden/log10_transient_growth" in WeightNumbers.of(trace, transient=True).completed().numbers


def test_no_gate_and_no_bias_are_nothing() -> None:
    assert math.isnan(WeightNumbers.of(trace_of(nn.RNN(2, 3))).forget_bias)
    assert math.isnan(WeightNumbers.of(trace_of(nn.LSTM(2, 3, bias=False))).forget_bias)
    assert WeightNumbers.of(trace_of(nn.LSTM(2, 3))).completed().plain is None
