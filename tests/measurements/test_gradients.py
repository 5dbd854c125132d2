"""Sums of gradients: from the first to the last step that has one, merged over calls without a difference."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from rnn_diag.capture import record
from rnn_diag.measurements.gradients import GradientSums
from rnn_diag.measurements.layer import AS_TRAINED
from rnn_diag.nn import RNN
from rnn_diag.trace import Trace


def halving() -> nn.Module:
    """Return `h_t = h_{t-1} / 2 + x_t`."""
    layer = RNN(2, 2, nonlinearity="identity")
    with torch.no_grad():
        layer.weight_hh_l0.copy_(0.5 * torch.eye(2))
    return layer


def read_at(step: int | slice, layer: nn.Module | None = None, batch: int = 3) -> Trace:
    """Return ten steps under a loss at some of them."""
    layer = halving() if layer is None else layer
    with record(layer) as recording:
        layer(torch.randn(10, batch, 2))[0][step].sum().backward()
    return recording["l0"]


@pytest.mark.parametrize(("step", "before"), [(-1, 9), (5, 5), (1, 1)])
def test_the_ratio_is_from_the_first_to_the_last_step_that_has_a_gradient(step: int, before: int) -> None:
    numbers = GradientSums.of(read_at(step), AS_TRAINED).numbers
    assert numbers["log10_first_to_last"] == pytest.approx(before * math.log10(0.5), rel=1e-6)
    assert (numbers["first_step"], numbers["last_step"]) == (0, before)


def test_one_step_with_a_gradient_has_no_ratio() -> None:
    numbers = GradientSums.of(read_at(0), AS_TRAINED).numbers
    assert math.isnan(numbers["log10_first_to_last"])
    assert "first_step" not in numbers


def test_the_median_is_the_mean_of_the_two_in_the_middle_in_logarithms() -> None:
    numbers = GradientSums.of(read_at(-1), AS_TRAINED).numbers
    expected = math.log10(math.sqrt(2)) + 4.5 * math.log10(0.5)  # lags 4 and 5 of two units
    assert numbers["log10_median"] == pytest.approx(expected, rel=1e-6)


def test_sequences_without_a_gradient_are_counted() -> None:
    layer = halving()
    with record(layer) as recording:
        layer(torch.randn(10, 5, 2))[0][:, 3].sum().backward()
    sums = GradientSums.of(recording["l0"], AS_TRAINED)
    assert (sums.sequences, sums.silent) == (5, 4)


def test_a_gradient_that_travels_through_the_memory_alone_is_not_zero() -> None:
    layer = nn.LSTM(2, 3)
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
    with record(layer) as recording:
        layer(torch.randn(5, 4, 2))[1][1].sum().backward()
    sums = GradientSums.of(recording["l0"], AS_TRAINED)
    assert not recording["l0"].hidden_grad.any()
    assert (sums.exact_zero, sums.silent) == (0.0, 0)


@pytest.mark.parametrize("layer", [nn.LSTM(2, 4), nn.RNN(2, 4)], ids=lambda layer: type(layer).__name__)
def test_two_halves_of_a_batch_sum_up_to_the_whole(layer: nn.Module) -> None:
    batch = torch.randn(10, 6, 2)

    def sums(part: torch.Tensor) -> GradientSums:
        with record(layer) as recording:
            layer(part)[0][-1].square().sum().backward()
        return GradientSums.of(recording["l0"], AS_TRAINED)

    together, whole = sums(batch[:, :2]) + sums(batch[:, 2:]), sums(batch)
    assert together.numbers == pytest.approx(whole.numbers, rel=1e-5, abs=1e-5)
    assert together.direct is not None and whole.direct is not None
    assert together.direct.norm == pytest.approx(whole.direct.norm, rel=1e-5)
    assert (together.direct.share, together.direct.read_share) == (whole.direct.share, whole.direct.read_share)
