"""Numbers in sentences and labels."""

from __future__ import annotations

import math

import pytest

from rnn_diag.lab.parts.words import listed, named, written


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-3, "−3"),
        (True, "yes"),
        (False, "no"),
        (-math.inf, "−∞"),
        (123456.0, "1.235e+05"),
        ((0.5, None, "x"), "0.5, , x"),
        ("0.123456", "0.123456"),
    ],
)
def test_values_are_written_for_a_reader(value: object, words: str) -> None:
    assert written(value) == words


def test_no_line_break_divides_a_name_from_its_values() -> None:
    assert named("w", 0.5, -1.0) == "w\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}0.5,\N{NO-BREAK SPACE}−1"


@pytest.mark.parametrize(("entries", "words"), [([], ""), (["a"], "a"), (["a", "b"], "a and b")])
def test_short_enumerations_have_no_comma(entries: list[str], words: str) -> None:
    assert listed(entries) == words
