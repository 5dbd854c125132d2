"""Series on their way to the page."""

from __future__ import annotations

import numpy as np
import pytest

from rnn_diag.tb.rows import Event, one_per_step, pack
from tests.tb.serving import decode


def test_a_resumed_run_shows_each_step_once_and_the_newest() -> None:
    times = [(8, 1.0), (9, 2.0), (5, 3.0), (6, 4.0), (9, 5.0)]
    events = one_per_step(Event(step, time, np.array([time])) for step, time in times)
    assert [(event.step, event.wall_time) for event in events] == [(5, 3.0), (6, 4.0), (8, 1.0), (9, 5.0)]


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_rows_arrive_in_the_type_they_are_stored_in(dtype: str) -> None:
    rows = [np.arange(6, dtype=dtype).reshape(2, 3), np.arange(4, dtype=dtype).reshape(2, 2)]
    steps, unpacked = decode(pack([Event(step, 0.0, row) for step, row in enumerate(rows)]))
    assert steps == [0, 1]
    for row, arrived in zip(rows, unpacked, strict=True):
        assert arrived.dtype == dtype
        np.testing.assert_array_equal(arrived, row)


def test_rows_of_a_type_that_nobody_reads_are_counted() -> None:
    body = pack([Event(0, 0.0, np.array([1.0])), Event(1, 0.0, np.array([b"text"], dtype=object))])
    assert b'"unreadable":2' in body
    assert decode(body) == ([], [])
