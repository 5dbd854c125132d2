"""Verdicts say in words what numbers say, worst first, in Markdown that keeps its lines."""

from __future__ import annotations

import math

import pytest

from rnn_diag.reporting.verdict import Statement, as_markdown, headlines

HEALTHY = {"gradient_norms/l0/log10_first_to_last": -0.5, "gradient_norms/l0/non_finite": 0.0}


@pytest.mark.parametrize(
    ("log10_ratio", "severity", "word"),
    [
        (-20.0, "critical", "vanishes"),
        (-3.0, "warning", "fades"),
        (0.0, "ok", "reaches"),
        (2.0, "warning", "grows"),
        (5.0, "critical", "explodes"),
    ],
)
def test_the_gradient_is_judged_by_how_it_changes_on_its_way(log10_ratio, severity, word):
    (said,) = headlines(HEALTHY | {"gradient_norms/l0/log10_first_to_last": log10_ratio})
    assert said.severity == severity
    assert word in said.title
    assert "`gradient_norms/l0/log10_first_to_last`" in said.numbers


def test_a_gradient_that_travels_through_the_cell_does_not_vanish():
    numbers = HEALTHY | {
        "gradient_norms/l0/log10_first_to_last": -5.0,
        "gradient_norms/l0/cell_log10_first_to_last": 0.1,
    }
    (said,) = headlines(numbers)
    assert said.severity == "ok"
    assert "cell_log10_first_to_last" in said.numbers


def test_what_is_no_number_comes_before_everything_else():
    said = headlines({"memory_horizon/l0/steps": 9.0, **HEALTHY, "gradient_norms/l0/non_finite": 0.25})
    assert [one.severity for one in said] == ["critical", "ok"]
    assert said[0].title == "The gradient is infinite or not a number."


def test_no_reference_is_said_to_be_none():
    (said,) = headlines(HEALTHY | {"gradient_norms/l0/log10_first_to_last": math.nan})
    assert said.severity == "info"


def test_a_short_horizon_is_a_warning_and_a_long_one_is_not():
    short, long = (
        headlines({"memory_horizon/l0/steps": 9.0, "memory_horizon/l0/share": share})[0] for share in (0.1, 0.9)
    )
    assert (short.severity, long.severity) == ("warning", "ok")
    assert "reaches 9 steps back" in short.title


def test_shut_gates_are_stuck_and_open_forget_gates_are_not():
    shut = headlines({"saturation/l0/forget/stuck_shut": 0.75, "saturation/l0/forget/stuck_open": 0.0})
    open_ = headlines({"saturation/l0/forget/stuck_shut": 0.0, "saturation/l0/forget/stuck_open": 1.0})
    assert (shut[0].severity, open_[0].severity) == ("critical", "ok")


def test_layers_are_told_apart_and_the_worst_comes_first():
    numbers = {f"gradient_norms/{layer}/non_finite": 0.0 for layer in ("a.l0", "b.l0")}
    numbers |= {"gradient_norms/a.l0/log10_first_to_last": 0.0, "gradient_norms/b.l0/log10_first_to_last": -9.0}
    assert [one.layer for one in headlines(numbers)] == ["b.l0", "a.l0"]


def test_markdown_has_a_heading_per_layer_and_a_list_beneath_every_statement():
    statements = [
        Statement("critical", "l0", "It\nvanishes.", "horizon 8", "take an LSTM"),
        Statement("advice", "l0", "Clip less."),
        Statement("ok", "l1", "It works."),
    ]
    assert as_markdown(statements) == (
        "### l0\n\n✕ **critical: It vanishes.**\n\n- horizon 8\n- Try: take an LSTM\n\n"
        "i **advice: Clip less.**\n\n### l1\n\n✓ **ok: It works.**"
    )
    assert as_markdown([], "All is well.") == "✓ All is well."
