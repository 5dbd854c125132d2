from __future__ import annotations

import pytest
import torch

from rnn_diag.diagnostics.numerics.share import Share
from tests.reference.random_layers import random_trace


def test_shares_are_counted_over_valid_steps_by_unit_and_by_step() -> None:
    trace = random_trace("rnn", [2, 1], units=2)
    holds = torch.tensor([[[1, 0], [1, 1]], [[0, 0], [1, 1]]], dtype=torch.float64)  # the last pair is padding
    share = Share.of(trace, {"hidden": holds})
    assert share.by_unit.tolist() == [[2 / 3, 1 / 3]]
    assert share.by_step.tolist() == [[0.75, 0.0]]
    assert share.mean.tolist() == [0.5]


def test_shares_of_batches_of_different_length_merge_to_that_of_the_union() -> None:
    union = random_trace("rnn", [5, 3])
    holds = torch.randint(2, (5, 2, 3)).double()
    alone = [random_trace("rnn", [length]) for length in (5, 3)]
    parts = [Share.of(alone[0], {"hidden": holds[:, :1]}), Share.of(alone[1], {"hidden": holds[:3, 1:]})]
    merged, whole = parts[0] + parts[1], Share.of(union, {"hidden": holds})
    torch.testing.assert_close(merged.by_unit, whole.by_unit)
    torch.testing.assert_close(merged.by_step, whole.by_step)


def test_a_unit_that_is_nan_has_an_unknown_share() -> None:
    trace = random_trace("rnn", [1], units=3)
    values = torch.tensor([[[0.5, torch.nan, 2.0]]])
    share = Share.where(trace, {"hidden": values}, lambda z, room: torch.gt(z, 1, out=room))
    assert share.by_unit.tolist() == [[0.0, pytest.approx(torch.nan, nan_ok=True), 1.0]]


def test_infinities_of_both_signs_are_compared_and_nan_in_the_padding_does_not_count() -> None:
    trace = random_trace("rnn", [2, 1], units=2)
    values = torch.tensor([[[torch.inf, -torch.inf]] * 2, [[2.0, 0.0], [torch.nan, torch.nan]]])
    share = Share.where(trace, {"hidden": values}, lambda z, room: torch.gt(z, 1, out=room))
    assert share.by_unit.tolist() == [[1.0, 0.0]]
    assert share.by_step.tolist() == [[0.5, 0.5]]
