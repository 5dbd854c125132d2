"""Adding: two marked values, one in each half."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_diag.tasks import Adding


def whole(task):
    return task.sequences("train").whole


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.data())
def test_adding_sums_the_two_marked_values_one_in_each_half(steps, data):
    shortest = data.draw(st.none() | st.integers(2, steps))
    inputs, targets, lengths, _ = whole(Adding(steps, shortest, train_size=30))
    for row in range(30):
        length = steps if lengths is None else int(lengths[row])
        assert (shortest or steps) <= length <= steps
        values, marks = inputs[row].T
        first, second = torch.nonzero(marks)[:, 0].tolist()
        assert first < length // 2 <= second < length
        assert targets[row].item() == pytest.approx(values[first].item() + values[second].item(), abs=1e-6)
        assert (inputs[row, length:] == 0).all()


def test_answering_one_costs_a_sixth_on_adding():
    targets = whole(Adding(20, train_size=200_000)).targets
    assert (targets - 1).square().mean().item() == pytest.approx(Adding().spec.baseline["mse"], rel=0.01)


def test_marked_steps_are_spread_evenly_over_their_halves():
    marks = whole(Adding(10, train_size=50_000)).inputs[:, :, 1].mean(dim=0)
    assert torch.allclose(marks, torch.full((10,), 0.2), atol=0.01)
