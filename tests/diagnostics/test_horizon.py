from __future__ import annotations

import math

import torch

from rnn_diag.diagnostics.horizon import half_life, joint_horizon, memory_horizon


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


def by_target_and_sequence(*curves: torch.Tensor) -> torch.Tensor:
    return torch.stack(curves, dim=1).unsqueeze(1)


def test_joint_horizon_is_the_larger_of_the_two_each_against_its_own_peak() -> None:
    lags = torch.arange(12.0)
    hidden = by_target_and_sequence(0.5**lags, 0.2**lags)
    cell = by_target_and_sequence(1e-6 * 0.2**lags, 1e-6 * 0.5**lags)
    assert joint_horizon(hidden, cell).tolist() == [[6.0, 6.0]]
    assert joint_horizon(hidden, cell, threshold=0.5).tolist() == [[1.0, 1.0]]
    assert joint_horizon(hidden).tolist() == [[6.0, 2.0]]


def test_joint_horizon_of_one_empty_curve_is_that_of_the_other() -> None:
    nothing, something = torch.zeros(4), torch.tensor([1.0, 1.0, 0.0, 0.0])
    hidden = by_target_and_sequence(nothing, something, nothing)
    cell = by_target_and_sequence(something, nothing, nothing)
    found = joint_horizon(hidden, cell)
    assert found[0, :2].tolist() == [1.0, 1.0]
    assert found[0, 2].isnan()
