"""How each recurrent layer of a model was captured, or why not."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Literal

from rnn_diag.capture.call_log import CallLog
from rnn_diag.capture.calls import Call, LayerCall
from rnn_diag.capture.finding import Finding
from rnn_diag.capture.modules import RecurrentModule, type_name, why_silent
from rnn_diag.coverage import Coverage, Status
from rnn_diag.engine.choice import engine_sweeper, sweep_in_bulk
from rnn_diag.engine.replay import replay_sweep
from rnn_diag.engine.sweep import Sweeper, sweep
from rnn_diag.trace import Trace

UNKNOWN_MASK = (
    "dropout between fused layers draws its mask inside this kernel; record with exact_dropout=True, use rnn_diag.nn "
    "with backend='explicit', or look at eval mode"
)
TWICE = (
    "differentiated with create_graph=True, to be differentiated again (a gradient penalty, a second-order method): "
    "what reached the states is the gradient of more than one loss and is left out"
)


def coverage_of(
    name: str, found: RecurrentModule, log: CallLog, traces: Sequence[Trace], engine: str, checked: Collection[str]
) -> Coverage:
    """Return how one layer was captured."""
    calls: list[Call] = log.calls[found.path]
    problem = next((call.problem for call in calls if call.problem), "") or log.problems.get(found.path, "")
    known = partial(Coverage, name, type_name(found.module), written=found.written, mend=found.mend)
    if problem:
        return known(Status.PARTIAL, problem)
    if any(isinstance(call, LayerCall) and call.masks is None for call in calls):
        return known(Status.NOT_FOLLOWED, UNKNOWN_MASK)
    if not calls:
        return known(Status.NEVER_RAN, *why_silent(found.module))
    status, reason = _checked(name, found, calls, traces, engine, checked)
    hint: Literal["", "hidden"] = "hidden" if found.is_hidden else ""
    has_gradients = any(trace.has_gradients for trace in traces)
    how = f"{found.registration.how}; " if isinstance(found.registration, Finding) else ""
    return known(status, f"{how}{_read(calls, traces)}; {reason}", hint, has_gradients)


def _read(calls: Sequence[Call], traces: Sequence[Trace]) -> str:
    """Return how many calls were read as how many sequences, and what stands out of them."""
    on_graph = [call for call in calls if call.had_grad] or calls
    read = f"{_counted(len(on_graph), 'call')} read as {_counted(len(traces), 'batch', 'batches')} of sequences"
    if others := len(calls) - len(on_graph):
        read += f", {_counted(others, 'call')} without a graph left out"
    if sum(trace.provenance.state_on_graph for trace in traces) > 1:
        read += ", whose first states the model made or changed between calls"
    if any(trace.provenance.state_changed_between_calls for trace in traces):
        read += ", whose state the model changed between calls, and not unit by unit: single losses are not followed"
    if any(trace.provenance.is_piece for trace in traces):
        read += ", some of them pieces: a state branches, is made of several, or continues with other sequences"
    return read


def _checked(
    name: str,
    found: RecurrentModule,
    calls: Sequence[Call],
    traces: Sequence[Trace],
    engine: str,
    checked: Collection[str],
) -> tuple[Status, str]:
    doubtful = next((trace for trace in traces if trace.is_faithful is False), None)
    if doubtful is not None:
        error = f"relative error {doubtful.fidelity:.1e} above {doubtful.tolerance:.0e}"
        return Status.NOT_FAITHFUL, f"{error}, {doubtful.fidelity_reason}"
    unchecked = all(trace.fidelity is None for trace in traces)
    reason = "checked against autograd at an earlier step" if unchecked and name in checked else _reason(traces)
    if twice := sum(call.differentiated_twice for call in calls):
        return Status.PARTIAL, f"{_counted(twice, 'call')} {TWICE}; of the others: {reason}"
    if not any(trace.has_gradients for trace in traces):
        return Status.EXACT, "states and gates: no backward pass reached the layer"
    if not any(trace.has_equations for trace in traces):
        return Status.EXACT, f"gradients of every step from autograd itself; {traces[0].fidelity_reason}"
    status = Status.NOT_CHECKED if unchecked and name not in checked else Status.EXACT
    return status, f"{_engine(found, calls, engine)}; {reason}"


def _reason(traces: Sequence[Trace]) -> str:
    return next((trace.fidelity_reason for trace in traces if trace.has_gradients), "nothing to check")


def _engine(found: RecurrentModule, calls: Sequence[Call], engine: str) -> str:
    if found.is_cell:
        return "gradients of every step from autograd itself"
    sweeper = engine_sweeper(engine, found.equations, calls[0].inputs.device) if found.equations else sweep
    ways: dict[Sweeper, str] = dict.fromkeys((sweep, sweep_in_bulk), "an explicit sweep")
    ways[replay_sweep] = "replaying the kernel"
    return f"gradients by {ways.get(sweeper, 'kernels written from the equations')}"


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
