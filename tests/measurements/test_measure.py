"""Measures that ask for the same are one."""

from __future__ import annotations

from rnn_diag.measurements.call import MeasureCall
from rnn_diag.measurements.gates import MeasureGates
from rnn_diag.measurements.influence import MeasureInfluence
from rnn_diag.measurements.layer import AS_TRAINED
from rnn_diag.measurements.weights import MeasureWeights
from rnn_diag.testing.known import linear_trace


def test_equal_measures_are_one_and_others_are_not() -> None:
    assert len({MeasureCall(), MeasureCall()}) == 1
    assert len({MeasureGates(0.1, 0.9), MeasureGates(0.1, 0.9), MeasureGates(0.05, 0.9)}) == 2
    assert MeasureInfluence(threshold=0.5) != MeasureInfluence()


def test_what_needs_nothing_beforehand_and_has_no_slow_part_is_done_at_once() -> None:
    trace, measure = linear_trace(0.5, steps=3), MeasureCall()
    measure.prepare(trace)
    measured = measure.of(trace, AS_TRAINED)
    assert measure.at_once(measured) is None
    assert measure.complete(measured) is measured


def test_of_weights_something_is_known_before_the_slow_part() -> None:
    measure = MeasureWeights()
    measured = measure.of(linear_trace(0.5, steps=3), AS_TRAINED)
    assert measure.needs.weights_only
    assert measure.at_once(measured).spectra == {}
    assert measure.complete(measured).plain.spectral_radius == 0.5
