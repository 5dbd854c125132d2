"""A horizon is one number or three."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnn_diag.tb import kinds, schema
from tests.tb.serving import series, written


def test_a_median_alone_stands_for_all_three(tmp_path: Path) -> None:
    client = written(tmp_path, lambda log: kinds.write_horizon(log, "l0", 0, 3.0))
    assert series(client, "run", schema.tag_of("horizon", "l0"))[1][0].tolist() == [3.0, 3.0, 3.0]


def test_two_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 numbers; expected 1 \(median\) or 3"):
        kinds.write_horizon(None, "l0", 0, [1, 2])
