from __future__ import annotations

import math

import torch

from rnn_diag.diagnostics.horizon import half_life, memory_horizon


def test_horizon_is_the_last_lag_at_one_percent_of_the_peak_not_the_first_below_it() -> None:
    assert memory_horizon(torch.tensor([100.0, 0.1, 50.0, 1.0, 0.99])).item() == 3
    assert memory_horizon(torch.tensor([1.0, 100.0, 0.5])).item() == 1


def test_horizon_and_half_life_of_nothing_are_unknown() -> None:
    for profile in (torch.zeros(4), torch.full((4,), math.nan), torch.tensor([1.0, math.inf])):
        assert memory_horizon(profile).isnan()
        assert half_life(profile).isnan()


def test_lags_before_the_sequence_count_neither_for_horizon_nor_half_life() -> None:
    profile = torch.tensor([1.0, 0.8, math.nan, math.nan])
    assert memory_horizon(profile).item() == 1
    assert half_life(profile).item() == math.inf


def test_half_life_counts_from_the_peak() -> None:
    assert half_life(torch.tensor([0.5, 4.0, 2.0, 1.0])).item() == 1.0
    assert half_life(torch.tensor([1.0, 0.0])).item() == 1.0
    assert half_life(torch.ones(5)).item() == math.inf


def test_horizon_keeps_the_other_axes() -> None:
    profile = torch.stack((0.5 ** torch.arange(9.0), torch.ones(9)), dim=1)
    assert memory_horizon(profile).tolist() == [6.0, 8.0]
    assert half_life(profile).tolist() == [1.0, math.inf]
