"""What one rank measures at a step: every measure that is wanted, applied to the traces of its layers."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from rnn_diag.callbacks.session.exchange import Findings, MeasuredStep
from rnn_diag.callbacks.session.plan import Key
from rnn_diag.callbacks.session.warnings import Warnings, in_words
from rnn_diag.coverage import Status
from rnn_diag.measurements.measure import GradientUnits, Measure
from rnn_diag.trace import Trace

NO_UNITS = GradientUnits(float("nan"), False)
"""Those of a batch without a backward pass."""

LOST_IN_HALF_PRECISION = "; half precision may have lost small gradients: a larger loss scale or bfloat16 keeps them"


def measure_step(current: MeasuredStep, measures: Mapping[Key, Measure], warnings: Warnings) -> Findings:
    """Return what is measured at a step; what goes wrong is noted in the step, and what is not shown is said once."""
    found: Findings = {}
    if current.recording is None:
        return found
    try:
        current.recording.stop()
        _prepare(current, measures)
        current.coverage = current.recording.coverage
    except Exception as error:
        current.fail(in_words(error))
        return found
    _say_what_is_not_followed(current, warnings)
    for key, layers in current.wanted.items():
        try:
            for layer in layers:
                for part in _parts(measures[key], layer, current, warnings):
                    found[key, layer] = found[key, layer] + part if (key, layer) in found else part
        except Exception as error:
            current.problems[key] = in_words(error)
    return found


@contextmanager
def without_collector() -> Iterator[None]:
    """Let Python's collector of reference cycles rest.

    What a measured step makes is freed when it is released, without cycles. By its number alone it would set off full
    collections, each of which takes as long as several measured steps.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _prepare(current: MeasuredStep, measures: Mapping[Key, Measure]) -> None:
    """Let every measure say what it is going to read, so that one sweep serves all; what fails here fails there."""
    assert current.recording is not None
    for key, layers in current.wanted.items():
        if measures[key].needs.gradients:
            with suppress(Exception):
                for trace in (trace for layer in layers for trace in current.recording.calls(layer)):
                    if trace.has_equations and trace.has_gradients:
                        measures[key].prepare(trace)


def _parts(measure: Measure, layer: str, current: MeasuredStep, warnings: Warnings) -> Iterator[Any]:
    """Give what is measured of each call of a layer."""
    assert current.recording is not None
    needs, traces = measure.needs, current.recording.calls(layer)
    if needs.equations:
        traces = [trace for trace in traces if trace.has_equations]
    filled = [trace for trace in traces if len(trace.sequences)]  # a batch may be empty
    traces = traces[:1] if needs.weights_only else filled
    if needs.gradients:
        traces = [trace for trace in traces if trace.has_gradients and _is_shown(layer, trace, current, warnings)]
    units = current.units[0] if current.units else NO_UNITS
    for trace in traces:
        yield measure.of(trace, units)


def _is_shown(layer: str, trace: Trace, current: MeasuredStep, warnings: Warnings) -> bool:
    """Return whether the gradients of a trace can be shown; say why not."""
    if trace.is_faithful is False:
        lost = LOST_IN_HALF_PRECISION if trace.provenance.half_precision else ""
        warnings.warn_once(layer, f"its gradients are not shown: {trace!r}{lost}")
        return False
    if len(set(current.units)) > 1:
        warnings.warn_once(
            "gradients", f"not shown at step {current.step}: their scale changed from one backward pass to the next"
        )
        return False
    return True


def _say_what_is_not_followed(current: MeasuredStep, warnings: Warnings) -> None:
    assert current.recording is not None
    for coverage in current.coverage:
        if coverage.status in (Status.PARTIAL, Status.NOT_FOLLOWED) and coverage.layer in current.recording.names:
            warnings.warn_once(coverage.layer, f"{coverage.status}: {coverage.reason}")
