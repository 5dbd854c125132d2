"""How each recurrent layer of a model was captured, or why not."""

from __future__ import annotations

from rnn_diag.capture.call import Call
from rnn_diag.capture.modules import RecurrentModule, type_name, why_silent
from rnn_diag.capture.notes import Notes
from rnn_diag.coverage import Coverage, Status
from rnn_diag.engine.replay import engine_sweeper
from rnn_diag.engine.sweep import sweep
from rnn_diag.trace import Trace

UNKNOWN_MASK = (
    "dropout between fused layers draws its mask inside the kernel; record with exact_dropout=True, use rnn_diag.nn "
    "with backend='explicit', or look at eval mode"
)


def coverage_of(name: str, found: RecurrentModule, notes: Notes, traces: list[Trace], engine: str) -> Coverage:
    """Return how one layer was captured."""
    module_type, calls = type_name(found.module), notes.calls[found.path]
    if problem := next((call.problem for call in calls if call.problem), ""):
        return Coverage(name, module_type, Status.PARTIAL, problem)
    if found.path in notes.problems:
        return Coverage(name, module_type, Status.PARTIAL, notes.problems[found.path])
    if any(isinstance(call, Call) and call.masks is None for call in calls):
        return Coverage(name, module_type, Status.NOT_FOLLOWED, UNKNOWN_MASK)
    if not calls:
        return Coverage(name, module_type, Status.NEVER_RAN, why_silent(found.module))
    on_graph = [call for call in calls if call.had_grad] or calls
    read = f"{_counted(len(on_graph), 'call')} read as {_counted(len(traces), 'batch', 'batches')} of sequences"
    if others := len(calls) - len(on_graph):
        read += f", {_counted(others, 'call')} without a graph left out"
    if sum(trace.initial_requires_grad for trace in traces) > 1:
        read += ", whose first states the model made or changed between calls"
    if not any(trace.has_gradients for trace in traces):
        return Coverage(
            name, module_type, Status.EXACT, f"{read}; states and gates: no backward pass reached the layer"
        )
    doubtful = [trace for trace in traces if trace.is_faithful is False]
    if doubtful:
        error = f"relative error {doubtful[0].fidelity:.1e} above {doubtful[0].tolerance:.0e}"
        return Coverage(name, module_type, Status.NOT_FAITHFUL, f"{read}; {error}, {traces[0].fidelity_reason}")
    return Coverage(
        name, module_type, Status.EXACT, f"{read}; {_engine(found, notes, engine)}; {traces[0].fidelity_reason}"
    )


def _engine(found: RecurrentModule, notes: Notes, engine: str) -> str:
    if found.is_cell:
        return "gradients of every step from autograd itself"
    call = notes.calls[found.path][0]
    replays = found.equations and engine_sweeper(engine, found.equations, call.inputs.device) is not sweep
    return f"gradients by {'replaying the kernel' if replays else 'an explicit sweep'}"


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
