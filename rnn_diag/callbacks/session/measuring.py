"""What one rank measures at a step: every wanted measure is asked of its layers' device, and read when it is there."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from rnn_diag.callbacks.session.exchange import Asked, Findings, MeasuredStep
from rnn_diag.callbacks.session.plan import Key
from rnn_diag.callbacks.session.warnings import Warnings, in_words
from rnn_diag.coverage import Status
from rnn_diag.measurements.measure import GradientUnits, Measure
from rnn_diag.trace import Trace

NO_UNITS = GradientUnits(float("nan"), False)
"""Those of a batch without a backward pass."""

LOST_IN_HALF_PRECISION = "; half precision may have lost small gradients: a larger loss scale or bfloat16 keeps them"


def ask(current: MeasuredStep, measures: Mapping[Key, Measure], is_read_later: bool, warnings: Warnings) -> None:
    """Ask for all that is measured at a step; what goes wrong is noted in the step.

    Args:
        current: The step.
        measures: What can be measured, by key.
        is_read_later: Whether the device computes while training continues: nothing is waited for then, and only copies
            for the CPU and what was recorded are held.
        warnings: Told of what is not shown.
    """
    recording = current.recording
    if recording is None:
        return
    try:
        recording.stop()
        _prepare(current, measures)
        for trace in (trace for name in recording.names for trace in recording.calls(name)):
            trace.send()
    except Exception as error:
        current.fail(in_words(error))
        return
    for key, layers in current.wanted.items():
        measure = measures[key]
        try:
            for layer in layers:
                for trace in _traces(measure, layer, current):
                    if is_read_later or _is_shown(measure, layer, trace, current, warnings):
                        pending = measure.pending(trace, current.units[0] if current.units else NO_UNITS).send()
                        current.asked.append(Asked(key, layer, trace, pending))
        except Exception as error:
            current.problems[key] = in_words(error)
    if is_read_later:
        recording.forget()


def read(current: MeasuredStep, measures: Mapping[Key, Measure], warnings: Warnings) -> Findings:
    """Return what was asked for at a step, once it is there; what is not shown is told once."""
    found: Findings = {}
    if current.recording is None:
        return found
    try:
        current.coverage = current.recording.coverage
    except Exception as error:
        current.fail(in_words(error))
        return found
    _say_what_is_not_followed(current, warnings)
    for key, layer, trace, pending in current.asked:
        try:
            if _is_shown(measures[key], layer, trace, current, warnings):
                part = pending.here()
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


def _traces(measure: Measure, layer: str, current: MeasuredStep) -> list[Trace]:
    """Return the calls of a layer that have what a measure needs."""
    assert current.recording is not None
    needs, traces = measure.needs, current.recording.calls(layer)
    if needs.equations:
        traces = [trace for trace in traces if trace.has_equations]
    if needs.weights_only:
        return traces[:1]
    filled = [trace for trace in traces if trace.inputs.shape[1]]  # a batch may be empty
    return [trace for trace in filled if trace.has_gradients] if needs.gradients else filled


def _is_shown(measure: Measure, layer: str, trace: Trace, current: MeasuredStep, warnings: Warnings) -> bool:
    """Return whether what is measured of a call can be shown: gradients only if they can be relied on; say why not."""
    if not measure.needs.gradients:
        return True
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
