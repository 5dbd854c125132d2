from __future__ import annotations

import pytest
import torch

from rnn_diag.diagnostics.numerics.reading_order import (
    at_positions,
    from_the_end,
    in_reading_order,
    last_read,
    padding_as_nan,
    step_at,
)
from tests.reference.random_layers import random_trace

STEPS = torch.arange(8.0).view(4, 2)  # step t of sequence b is 2t + b; the second sequence has 3 steps


@pytest.mark.parametrize(
    ("reverse", "read", "backwards"),
    [
        (False, [[0, 1], [2, 3], [4, 5]], [[6, 5], [4, 3], [2, 1]]),
        (True, [[6, 5], [4, 3], [2, 1]], [[0, 1], [2, 3], [4, 5]]),
    ],
)
def test_a_reverse_layer_reads_every_sequence_from_its_own_end(reverse, read, backwards) -> None:
    trace = random_trace("rnn", [4, 3], reverse=reverse)
    assert in_reading_order(trace, STEPS)[:3].tolist() == read
    assert from_the_end(trace, STEPS)[:3].tolist() == backwards
    assert torch.equal(in_reading_order(trace, in_reading_order(trace, STEPS)), STEPS)


def test_padding_alone_becomes_nan_whatever_axes_follow() -> None:
    trace = random_trace("rnn", [4, 3])
    assert padding_as_nan(trace, STEPS).isnan().nonzero().tolist() == [[3, 1]]
    assert padding_as_nan(trace, torch.zeros(4, 2, 2, 3)).isnan().sum() == 6


@pytest.mark.parametrize("reverse", [False, True])
def test_the_step_at_a_position_is_the_one_that_was_read_then(reverse: bool) -> None:
    trace = random_trace("lstm", [4, 3], grads=None, reverse=reverse)
    step, before = step_at(trace, last_read(trace))
    final = torch.stack((trace.cell[0 if reverse else 3, 0], trace.cell[0 if reverse else 2, 1]))
    torch.testing.assert_close(step.cell, final)
    torch.testing.assert_close(before.cell[0], trace.cell[1 if reverse else 2, 0])
    assert at_positions(STEPS.unsqueeze(-1), torch.tensor([1, 2])).flatten().tolist() == [2.0, 5.0]
