"""Two reports side by side: which findings are gone, new, milder, graver, and which numbers changed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rnn_diag.doctor import Report, Severity, Vitals, compare
from rnn_diag.doctor.finding import Finding

GROWS = Finding("exploding", Severity.WARNING, "l0", "It grows.")


def report(*findings: Finding, **numbers: float) -> Report:
    return Report(findings, {"l0": Vitals("l0", **numbers)})


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ([GROWS], [], "better"),
        ([], [GROWS], "worse"),
        ([GROWS], [replace(GROWS, severity=Severity.INFO)], "better"),
        ([GROWS], [replace(GROWS, severity=Severity.CRITICAL)], "worse"),
        ([GROWS], [replace(GROWS, id="vanishing")], "mixed"),
        ([GROWS], [GROWS], "same"),
        ([GROWS], [replace(GROWS, layer="l1")], "mixed"),
    ],
)
def test_the_verdict_goes_by_findings_of_the_same_layer(
    before: list[Finding], after: list[Finding], verdict: str
) -> None:
    assert compare(report(*before), report(*after)).verdict == verdict


@pytest.mark.parametrize(
    ("name", "before", "after", "verdict"),
    [
        ("horizon", 5.0, 50.0, "better"),
        ("exact_zero", 0.1, 0.5, "worse"),
        ("log10_first_to_last", -20.0, -1.0, "better"),
        ("log10_first_to_last", 1.0, 5.0, "worse"),
        ("influence_peak", 100.0, 1.1, "better"),
        ("influence_peak", 0.5, 1.0, "better"),
        ("forget_bias", 0.0, 1.0, "changed"),
    ],
)
def test_a_number_gets_better_towards_where_it_is_best(name: str, before: float, after: float, verdict: str) -> None:
    (change,) = compare(report(**{name: before}), report(**{name: after})).changes
    assert (change.before, change.after, change.verdict) == (before, after, verdict)


@pytest.mark.parametrize(("before", "after"), [(100.0, 105.0), (float("nan"), 3.0), (3.0, float("nan")), (0.0, 0.0)])
def test_small_changes_and_numbers_that_were_not_known_are_left_out(before: float, after: float) -> None:
    assert compare(report(horizon=before), report(horizon=after)).changes == ()


def test_layers_that_only_one_has_are_named_and_all_of_it_is_json() -> None:
    other = Report((GROWS,), {"l1": Vitals("l1"), "l0": Vitals("l0", log10_first_to_last=float("-inf"))})
    found = compare(report(log10_first_to_last=-1.0), other)
    assert (found.only_before, found.only_after) == ((), ("l1",))
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["changes"][0]["after"] == "-inf"
    assert "only after: l1" in str(found) and "new: warning: l0: exploding: It grows." in str(found)
