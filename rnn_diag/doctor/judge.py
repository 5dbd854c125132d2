"""From what was measured to what is wrong: the one judge, for single batches, pre-flight checks and whole runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rnn_diag.coverage import Coverage
from rnn_diag.doctor.report import Report
from rnn_diag.doctor.rules import findings_of
from rnn_diag.doctor.run_facts import RunFacts
from rnn_diag.doctor.vitals import Vitals, beside_each_other
from rnn_diag.measurements.call import MeasureCall
from rnn_diag.measurements.gates import MeasureGates
from rnn_diag.measurements.gradients import MeasureGradients
from rnn_diag.measurements.influence import MeasureInfluence
from rnn_diag.measurements.layer import LayerMeasurements
from rnn_diag.measurements.measure import Measure
from rnn_diag.measurements.weights import MeasureWeights

MEASURES: tuple[Measure, ...] = (
    MeasureCall(),
    MeasureGradients(),
    MeasureInfluence(),
    MeasureGates(),
    MeasureWeights(gated=False),
)
"""What the rules need; `rnn_diag.measurements.layer.chosen` replaces them by those that a run measures anyway."""

WHOLE = "the model"
"""What a model is called that is the recurrent module itself and cannot be followed."""


def judge(
    measured: Mapping[str, LayerMeasurements], coverage: Sequence[Coverage] = (), facts: RunFacts | None = None
) -> Report:
    """Return what is wrong with a network's layers, and the numbers that this rests on.

    Args:
        measured: By layer.
        coverage: How every layer was captured, those of which nothing is measured included.
        facts: What is known of the run; by default that this is its first measured batch.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> report = judge({"l0": LayerMeasurements.of(linear_trace(1.5, steps=30))})
        >>> [(finding.id, str(finding.severity)) for finding in report.findings]
        [('exploding', 'critical')]
    """
    facts = facts or RunFacts()
    captured = {one.layer or WHOLE: one for one in coverage}
    vitals = {
        layer: Vitals.of(layer, measured.get(layer), captured.get(layer), facts)
        for layer in dict.fromkeys((*captured, *measured))
    }
    vitals = beside_each_other(vitals)
    return Report(findings_of(vitals), vitals, batches=facts.batches)
