"""Temporal order: which of two symbols was first."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_diag.tasks import TemporalOrder


def whole(task):
    return task.sequences("train").whole


@settings(max_examples=30, deadline=None)
@given(st.integers(10, 80), st.data())
def test_temporal_order_names_the_two_symbols_in_order(steps, data):
    shortest = data.draw(st.none() | st.integers(10, steps))
    inputs, targets, lengths, _ = whole(TemporalOrder(steps, shortest, train_size=30))
    for row in range(30):
        length = steps if lengths is None else int(lengths[row])
        text = "".join("abcdXYBE"[token] for token in inputs[row, :length])
        assert text[0] == "B" and text[-1] == "E"
        where = [step for step, symbol in enumerate(text) if symbol in "XY"]
        assert ["XX", "XY", "YX", "YY"][targets[row]] == "".join(text[step] for step in where)
        assert length // 10 <= where[0] < length // 5 and length // 2 <= where[1] < 3 * length // 5
        assert set(text[1:-1]) <= set("abcdXY")
        assert (inputs[row, length:] == 0).all()


def test_the_four_orders_are_equally_frequent():
    targets = whole(TemporalOrder(train_size=40_000)).targets
    assert torch.allclose(torch.bincount(targets) / 40_000, torch.full((4,), 0.25), atol=0.01)
