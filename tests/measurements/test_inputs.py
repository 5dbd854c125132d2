"""What a layer was fed: lengths, scale, and padding that it read."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rnn_diag.capture import record
from rnn_diag.cells import ZoneoutLSTMEquations
from rnn_diag.measurements.inputs import InputCounts, repeated_at_the_end, repeated_in_front
from rnn_diag.nn import Recurrent
from rnn_diag.trace import Trace


def trace_of(batch: Tensor, sequences: int | None = None) -> Trace:
    layer = nn.GRU(batch.shape[-1], 3)
    with record(layer, sequences=sequences) as recording:
        layer(batch)[0][-1].sum().backward()
    return recording["l0"]


def test_runs_of_equal_inputs_at_either_end_are_counted_without_the_first_of_them() -> None:
    batch = torch.randn(8, 3, 2)
    batch[5:, 0] = 0.0
    batch[:4, 1] = 0.0
    trace = trace_of(batch)
    assert repeated_at_the_end((batch == batch[-1]).all(-1), trace.mask).tolist() == [2, 0, 0]
    assert repeated_in_front((batch == batch[0]).all(-1), trace.mask).tolist() == [0, 3, 0]
    counts = InputCounts.of(trace)
    assert counts.padding_read == pytest.approx(2 / 24)
    assert counts.padding_in_front == pytest.approx(3 / 24)


def test_sequences_that_never_change_and_runs_of_one_length_are_no_padding() -> None:
    never = torch.ones(6, 2, dtype=torch.bool)
    assert repeated_at_the_end(never, never).tolist() == repeated_in_front(never, never).tolist() == [0, 0]
    assert InputCounts.of(trace_of(torch.ones(6, 2, 1))).tail == 0
    batch = torch.randn(8, 3, 2)
    batch[:4] = 0.0
    assert InputCounts.of(trace_of(batch)).padding_in_front == 0


def test_scale_is_the_root_mean_square_over_calls() -> None:
    one, other = (InputCounts.of(trace_of(torch.full((4, 2, 3), value))) for value in (3.0, 4.0))
    assert one.scale == pytest.approx(3)
    assert (one + other).scale == pytest.approx((12.5) ** 0.5)


def test_a_part_of_a_batch_is_known_as_one() -> None:
    assert not InputCounts.of(trace_of(torch.randn(4, 12, 2))).is_part
    assert InputCounts.of(trace_of(torch.randn(4, 12, 2), sequences=3)).is_part


def test_what_a_recurrence_draws_for_a_call_is_no_input() -> None:
    batch = torch.randn(8, 3, 2)
    batch[5:, 0] = 0.0
    layer = Recurrent(ZoneoutLSTMEquations(), 2, 3)
    with record(layer) as recording:
        layer(batch)[0][-1].sum().backward()
    counts = InputCounts.of(recording["l0"])
    assert counts.tail == 2
    assert counts.scale == pytest.approx(batch.square().mean().sqrt().item())
