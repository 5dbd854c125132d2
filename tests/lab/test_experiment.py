"""When a check holds, and which tables are refused."""

from __future__ import annotations

import math

import pytest

from rnn_diag.lab.experiment import Check, Relation, Table


@pytest.mark.parametrize(
    ("relation", "measured", "holds"),
    [
        ("equal", 1.05, True),
        ("equal", 1.2, False),
        ("equal", 0.8, False),
        ("at most", 0.2, True),
        ("at most", 1.2, False),
        ("at least", 7.0, True),
        ("at least", 0.8, False),
        ("equal", math.nan, False),
        ("at most", math.nan, False),
        ("at least", math.nan, False),
        ("equal", math.inf, False),
    ],
)
def test_a_check_holds_within_its_tolerance_on_the_right_side(relation: Relation, measured: float, holds: bool) -> None:
    assert Check("x", 1.0, measured, 0.1, relation).holds is holds


def test_two_infinities_agree_and_opposite_ones_do_not() -> None:
    assert Check("x", math.inf, math.inf, 0.0).holds
    assert not Check("x", math.inf, -math.inf, 0.0).holds


def test_a_row_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"table 'sums': row \(1, 2, 3\); expected 2 values"):
        Table("sums", ("a", "b"), [(1, 2, 3)])
