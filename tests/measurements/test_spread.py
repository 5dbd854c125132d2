"""Percentiles over sequences, from ranks and calls that differ in length."""

from __future__ import annotations

import math

import pytest
import torch

from rnn_diag.measurements.spread import MOST_SEQUENCES, Bands


def bands(*sequences: list[float]) -> Bands:
    longest = max(map(len, sequences))
    values = torch.tensor([[*s, *[math.nan] * (longest - len(s))] for s in sequences]).T
    lengths = torch.tensor([len(s) for s in sequences])
    return Bands.of(values, torch.arange(longest).unsqueeze(1) < lengths)


def test_parts_together_have_the_percentiles_of_the_whole():
    sequences = [[1.0, 10.0], [100.0], [0.1, 1.0, 10.0], [5.0, 0.0]]
    together = bands(*sequences[:1]) + bands(*sequences[1:])
    assert together.percentiles.tolist() == bands(*sequences).percentiles.tolist()


def test_what_is_not_a_number_is_not_hidden_and_padding_does_not_count():
    median, low, high = bands([1.0, math.nan], [1.0, 1.0], [1.0]).percentiles.tolist()
    assert (median[0], low[0], high[0]) == (0, 0, 0)
    assert all(math.isnan(values[1]) for values in (median, low, high))


def test_infinity_and_zero_keep_their_logarithms():
    assert bands([math.inf], [math.inf], [0.0]).percentiles.flatten().tolist() == [math.inf, -math.inf, math.inf]


@pytest.mark.parametrize("sequences", [1, 63, 65, 500])
def test_what_ranks_exchange_is_bounded(sequences):
    assert len(bands(*[[1.0]] * sequences).lengths) == min(sequences, MOST_SEQUENCES)


def test_nothing_valid_has_no_steps():
    assert Bands.of(torch.ones(3, 2), torch.zeros(3, 2, dtype=torch.bool)).percentiles.shape == (3, 0)
