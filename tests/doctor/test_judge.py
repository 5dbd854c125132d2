"""The one judge: from what was measured, and how it was captured, to a report."""

from __future__ import annotations

from rnn_diag.coverage import Coverage, Status
from rnn_diag.doctor import RunFacts
from rnn_diag.doctor.judge import MEASURES, WHOLE, judge
from rnn_diag.measurements.layer import AS_TRAINED, LayerMeasurements
from rnn_diag.testing.known import linear_trace


def test_layers_of_which_nothing_was_measured_are_judged_by_how_they_were_captured() -> None:
    measured = {"l0": LayerMeasurements.of(linear_trace(1.0, steps=30))}
    coverage = [
        Coverage("l0", "RNN", Status.EXACT, ""),
        Coverage("odd", "OddCell", Status.NOT_FOLLOWED, "its equations are not known", "register"),
    ]
    report = judge(measured, coverage)
    assert [(one.layer, one.id) for one in report.findings] == [("odd", "not_followed")]
    assert list(report.vitals) == ["l0", "odd"]


def test_a_model_that_is_the_layer_itself_has_a_name() -> None:
    report = judge({}, [Coverage("", "OddCell", Status.NOT_FOLLOWED, "its equations are not known", "register")])
    assert [one.layer for one in report.findings] == [WHOLE]


def test_what_the_judge_asks_for_is_what_it_reads() -> None:
    trace = linear_trace(0.5, steps=20)
    by_measures = LayerMeasurements.together(*(one.complete(one.of(trace, AS_TRAINED)) for one in MEASURES))
    by_itself = LayerMeasurements.of(trace)
    assert judge({"l0": by_measures}).findings == judge({"l0": by_itself}).findings
    assert judge({"l0": by_measures}).findings  # a gradient that halves with every step


def test_the_run_is_known_to_the_judge() -> None:
    report = judge({"l0": LayerMeasurements.of(linear_trace(1.0, steps=30))}, facts=RunFacts(batches=7))
    assert report.batches == 7
    untrained = RunFacts(untrained=frozenset({"l0"}))
    found = judge({"l0": LayerMeasurements.of(linear_trace(1.0, steps=30))}, facts=untrained).findings
    assert "not_optimized" in [one.id for one in found]
