from __future__ import annotations

import torch

from rnn_diag.diagnostics.numerics.profile import Profile
from tests.reference.random_layers import mask_of


def test_profiles_of_two_ranks_merge_to_that_of_the_union() -> None:
    values, mask = torch.randn(5, 4, dtype=torch.float64), mask_of([5, 2, 4, 3])
    merged = Profile.of(values[:, :1], mask[:, :1]) + Profile.of(values[:4, 1:], mask[:4, 1:])
    union = Profile.of(values, mask)
    torch.testing.assert_close(merged.mean, union.mean, rtol=1e-14, atol=1e-15)
    assert merged.count.tolist() == union.count.tolist()


def test_a_value_that_is_not_finite_shows_at_its_step_and_padding_never_counts() -> None:
    values = torch.tensor([[1.0, torch.nan], [torch.inf, torch.nan]])
    profile = Profile.of(values, torch.tensor([[True, False], [True, False]]))
    assert profile.mean.tolist() == [1.0, torch.inf]
    assert profile.count.tolist() == [1.0, 1.0]
