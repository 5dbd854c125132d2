"""Which engine runs a recurrence over time: a loop, one in bulk, torch's kernel once more, graphs, or one launch."""

from __future__ import annotations

import torch
from torch import Tensor

from rnn_diag.arguments import one_of
from rnn_diag.cells.equations import Equations, State
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.elementwise import ElementwiseStep
from rnn_diag.engine.engine import Engine, Explicit
from rnn_diag.engine.fused import Fused, fits_on_chip, is_indexable, statements_of
from rnn_diag.engine.graphed import Graphed
from rnn_diag.engine.in_bulk import in_bulk
from rnn_diag.engine.precision import cudnn_takes_tf32
from rnn_diag.engine.replay import can_replay, replay_sweep
from rnn_diag.engine.scan import scan_of
from rnn_diag.engine.sweep import Sweeper, Swept, sweep
from rnn_diag.engine.unroll import Unrolled

ENGINES = ("auto", "explicit", "in_bulk", "replay", "graphed", "persistent")
MOST_PERSISTENT_STATES = 65536
"""States of all sequences together beyond which products of many sequences at once are faster than one at a time."""


EXPLICIT = Explicit()


def training_engine(equations: Equations, weights: Weights, inputs: Tensor) -> Engine:
    """Return the engine that trains a layer.

    A scan where the memory is linear; else on CUDA kernels, and elsewhere a loop, in bulk where the equations allow.

    Args:
        equations: The recurrence.
        weights: Its parameters.
        inputs: `[T, B, I]` what it is fed.
    """
    if scan := scan_of(equations, weights):
        return scan
    if not inputs.is_cuda:
        return in_bulk(equations, weights) or EXPLICIT
    if weights.weight_hr is not None:
        return EXPLICIT
    steps, batch, _ = inputs.shape
    fused = _by_kernels(equations, weights, steps, batch) or EXPLICIT
    key = fused.key if isinstance(fused, Fused) else equations
    return Graphed(fused, key, tf32=cudnn_takes_tf32())


def engine_sweeper(engine: str, equations: Equations, device: torch.device) -> Sweeper:
    """Return the sweep of an engine: `auto` chooses for every request, by its device and shape.

    Raises:
        ValueError: If the engine is unknown.
    """
    one_of("engine", engine, ENGINES)
    if engine == "replay":
        return replay_sweep if can_replay(equations) else sweep
    if engine == "explicit":
        return sweep
    if engine == "in_bulk" or (engine == "auto" and device.type != "cuda"):
        return sweep_in_bulk

    def chosen(
        equations: Equations,
        weights: Weights,
        unrolled: Unrolled,
        hidden_grad_direct: Tensor,
        final_grad: State | None = None,
    ) -> Swept:
        steps, *rows = hidden_grad_direct.shape[:-1]
        found = None
        if unrolled.between is not None:
            return sweep(equations, weights, unrolled, hidden_grad_direct, final_grad)
        if weights.weight_hr is None:
            found = _by_kernels(equations, weights, steps, torch.Size(rows).numel(), engine)
        if found is None and (scan := scan_of(equations, weights)):
            return scan.sweep(equations, weights, unrolled, hidden_grad_direct, final_grad)
        if found is None:
            fallback = replay_sweep if can_replay(equations) and device.type == "cuda" else sweep
            return fallback(equations, weights, unrolled, hidden_grad_direct, final_grad)
        if found.persistent:
            return found.sweep(equations, weights, unrolled, hidden_grad_direct, final_grad)
        return _copied(Graphed(found, found.key).sweep(equations, weights, unrolled, hidden_grad_direct, final_grad))

    return chosen


def sweep_in_bulk(
    equations: Equations,
    weights: Weights,
    unrolled: Unrolled,
    hidden_grad_direct: Tensor,
    final_grad: State | None = None,
) -> Swept:
    """Sweep in bulk where the equations allow, and by the loop where they do not."""
    found: Engine | None = None
    if unrolled.between is None:
        found = scan_of(equations, weights) or in_bulk(equations, weights)
    return (found or EXPLICIT).sweep(equations, weights, unrolled, hidden_grad_direct, final_grad)


def _by_kernels(equations: Equations, weights: Weights, steps: int, rows: int, engine: str = "auto") -> Fused | None:
    """Return an engine of our own kernels, persistent or stepwise, or None where neither can run."""
    step = statements_of(equations, weights)
    if step is None or not is_indexable(step, steps, rows, weights.weight_hh.shape[1]):
        return None
    if engine != "graphed" and _is_persistent(step, weights, rows, asked=engine == "persistent"):
        return Fused(step, persistent=True)
    return None if engine == "persistent" else Fused(step, persistent=False)


def _is_persistent(step: ElementwiseStep, weights: Weights, rows: int, asked: bool) -> bool:
    few = rows * weights.weight_hh.shape[1] <= MOST_PERSISTENT_STATES
    return fits_on_chip(step, weights) and (asked or few)


def _copied(swept: Swept) -> Swept:
    """Return gradients in memory of their own: a trace outlives the next replay."""
    projected = swept.projected_grad.clone()
    same = swept.recurrent_grad.data_ptr() == swept.projected_grad.data_ptr()
    return Swept(
        swept.hidden_grad.clone(),
        swept.hidden_grad_recurrent.clone(),
        None if swept.cell_grad is None else swept.cell_grad.clone(),
        projected,
        projected if same else swept.recurrent_grad.clone(),
        swept.initial,
        swept.hidden_grad_direct,
    )
