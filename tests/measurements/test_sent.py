"""What ranks send of a measurement: exact where it is short, bounded where it is long, and of its full size again."""

from __future__ import annotations

import pickle

import pytest
import torch

from rnn_diag.diagnostics import Profile
from rnn_diag.measurements.sent import received, sent
from rnn_diag.measurements.spread import Bands


@pytest.mark.parametrize("steps", [1, 64, 65, 5000])
def test_a_profile_has_its_first_steps_and_its_last_exactly_and_elsewhere_the_largest_nearby(steps: int) -> None:
    profile = Profile(torch.rand(steps).double() + 1, torch.ones(steps).double())
    again = received(sent(profile))
    assert torch.equal(again.total[:64], profile.total[:64]) and again.total[-1] == profile.total[-1]
    assert len(again.total) == steps and bool((again.total[:-1] >= profile.total[:-1]).all())


def test_a_step_that_is_no_number_stays_visible() -> None:
    total = torch.ones(1000).double()
    total[700] = torch.nan
    assert received(sent(Profile(total, torch.ones(1000).double()))).total[700].isnan()


def test_bytes_are_bounded_in_steps_and_sequences() -> None:
    sizes = [
        len(pickle.dumps(sent(Bands(torch.zeros(steps, many), torch.full((many,), steps)))))
        for steps, many in ((10_000, 32), (10_000, 64), (1_000_000, 32))
    ]
    assert sizes[0] == sizes[1] and sizes[2] < 20_000
