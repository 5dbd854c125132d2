"""Timing: a spike a fixed interval after every cue."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_diag.tasks import Timing


def whole(task):
    return task.sequences("train").whole


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(0, 40))
def test_every_cue_is_followed_by_a_spike_after_the_interval_and_by_no_other(interval, extra):
    inputs, targets, _, _ = whole(Timing(interval, 2 * interval + extra, train_size=30))
    late = torch.zeros_like(targets)
    late[:, interval:] = inputs[:, :-interval]
    assert torch.equal(targets, late)
    assert (targets.sum(dim=(1, 2)) >= 1).all()
    for row in inputs[:, :, 0]:
        cues = torch.nonzero(row)[:, 0]
        assert cues[0] < interval
        assert ((cues.diff() > interval) & (cues.diff() <= 2 * interval)).all()


def test_free_running_spikes_follow_a_single_cue_for_ever():
    inputs, targets, _, _ = whole(Timing(5, 23, free_running=True, train_size=30))
    for cue, spikes in zip(inputs[:, :, 0], targets[:, :, 0], strict=True):
        (start,) = torch.nonzero(cue)[:, 0].tolist()
        assert torch.nonzero(spikes)[:, 0].tolist() == list(range(start + 5, 23, 5))


def test_baseline_of_timing_is_the_error_of_the_mean():
    task = Timing(10, 60)
    share = whole(task).targets.mean().item()
    assert task.spec.baseline["mse"] == pytest.approx(share * (1 - share), rel=0.02)
