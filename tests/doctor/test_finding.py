"""A finding in words, in JSON, and among others."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rnn_diag.doctor.finding import Evidence, Finding, Severity, alike, number

GROWS = Finding(
    "exploding",
    Severity.WARNING,
    "l0",
    "It grows.",
    "Clip.",
    call="Trainer(gradient_clip_val=1.0)",
    option="trainer.gradient_clip_val=1.0",
    evidence=(Evidence("largest influence", float("inf"), "memory_horizon/l0/log10_peak"), Evidence("radius", 1.5)),
)


def test_it_says_where_what_and_by_which_numbers_and_what_to_try() -> None:
    assert str(GROWS).splitlines() == [
        "warning: l0: exploding: It grows. (largest influence: inf; radius: 1.5)",
        "    Try: Clip. Trainer(gradient_clip_val=1.0)",
    ]


def test_the_command_line_is_told_its_own_option() -> None:
    there = replace(GROWS, from_command_line=True)
    assert there.advice == "Clip. On the command line: trainer.gradient_clip_val=1.0"
    assert replace(there, option="").advice == GROWS.advice


def test_nothing_is_to_be_tried_where_there_is_no_remedy() -> None:
    assert "Try" not in str(replace(GROWS, remedy="", call="", option=""))


def test_it_is_the_same_after_json_also_with_numbers_that_json_has_not() -> None:
    written = json.dumps(GROWS.to_dict(), allow_nan=False)
    assert Finding.from_dict(json.loads(written)) == GROWS


def test_findings_that_differ_in_their_layer_alone_are_one_group() -> None:
    others = [replace(GROWS, layer="l1"), replace(GROWS, layer="l2", severity=Severity.CRITICAL)]
    assert [[one.layer for one in group] for group in alike([GROWS, *others])] == [["l0", "l1"], ["l2"]]


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.0, "0"), (999.6, "1,000"), (0.0001, "0.0001"), (0.00009, "9·10^-5"), (float("-inf"), "-inf")],
)
def test_numbers_are_short_and_have_no_exponent_of_computers(value: float, written: str) -> None:
    assert number(value) == written
