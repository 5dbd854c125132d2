"""Counts of gates by two thresholds, under names of their own, that merge without a difference."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from rnn_diag.capture import record
from rnn_diag.diagnostics import forget_rate
from rnn_diag.measurements.gates import GateCounts
from rnn_diag.testing.known import forgetting_trace, linear_trace


@pytest.mark.parametrize(
    ("forget", "open_", "fixed", "flat"), [(0.5, 0.0, 0.0, 0.0), (0.95, 1.0, 0.0, 0.0), (0.9999, 1.0, 1.0, 1.0)]
)
def test_open_and_fixed_open_are_two_numbers(forget: float, open_: float, fixed: float, flat: float) -> None:
    counts = GateCounts.of(forgetting_trace(forget, steps=4))
    names = (counts.stuck_open, counts.fixed_open, counts.flat)
    assert [values["forget"] for values in names] == [open_, fixed, flat]
    assert counts.numbers["forget/stuck_open"] == open_


def test_a_plain_recurrence_has_no_gates_and_no_rate() -> None:
    counts = GateCounts.of(linear_trace(0.5, steps=3))
    assert (counts.gates, counts.numbers, counts.rate) == ((), {}, None)
    assert math.isnan(counts.longest_memory) and math.isnan(counts.relu_dead)


def test_two_halves_of_a_batch_sum_up_to_the_whole() -> None:
    torch.manual_seed(0)
    layer, batch = nn.LSTM(2, 6), 4 * torch.randn(12, 6, 2)

    def counts(part: torch.Tensor) -> GateCounts:
        with record(layer) as recording:
            layer(part)
        return GateCounts.of(recording["l0"])

    merged, whole = counts(batch[:, :2]) + counts(batch[:, 2:]), counts(batch)
    assert merged.numbers == pytest.approx(whole.numbers, abs=1e-12)
    assert merged.flat == pytest.approx(whole.flat, abs=1e-12)
    assert merged.longest_memory == pytest.approx(whole.longest_memory, rel=1e-6)


def test_the_longest_memory_is_that_of_the_gate_that_keeps() -> None:
    trace = forgetting_trace(0.98, steps=20, units=3)
    assert GateCounts.of(trace).longest_memory == float(forget_rate(trace).time_constants.max())
