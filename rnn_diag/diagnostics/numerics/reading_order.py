"""The order in which a layer read its steps, and the distance of each from the last step read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnn_diag.cells.equations import State, Step
from rnn_diag.engine.unroll import back_to_front
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def in_reading_order(trace: Trace, steps: Float[Tensor, "time batch *units"]) -> Float[Tensor, "time batch *units"]:
    """Return steps of the input in the order in which the layer read them, or the other way round.

    A layer that reads forward reads them as they stand; a reverse one turns every sequence round within its own length.
    Padding stays at the end.
    """
    return _back_to_front(trace, steps) if trace.reverse else steps


def from_the_end(trace: Trace, steps: Float[Tensor, "time batch *units"]) -> Float[Tensor, "time batch *units"]:
    """Return every sequence by distance from its last step read: entry 0 is that step, entry 1 the one read before it.

    The last step read is the last valid step of a layer that reads forward, and step 0 of a reverse one.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> trace = linear_trace(1.0, steps=3)
        >>> from_the_end(trace, torch.tensor([[1.0], [2.0], [3.0]])).flatten().tolist()
        [3.0, 2.0, 1.0]
    """
    return steps if trace.reverse else _back_to_front(trace, steps)


def padding_as_nan(trace: Trace, steps: Float[Tensor, "time batch *units"]) -> Float[Tensor, "time batch *units"]:
    """Return the steps with NaN wherever a sequence had already ended."""
    if trace.source.mask is None:
        return steps
    padding = ~trace.mask_with(steps)
    return steps.masked_fill(padding.view(*padding.shape, *[1] * (steps.dim() - 2)), float("nan"))


def _back_to_front(trace: Trace, steps: Tensor) -> Tensor:
    flat = steps.reshape(*steps.shape[:2], -1)
    return back_to_front(flat, None if trace.source.mask is None else trace.mask_with(steps)).view_as(steps)


def last_read(trace: Trace) -> Int[Tensor, " batch"]:
    """Return the position in reading order of every sequence's last step."""
    return (trace.lengths - 1).clamp(min=0)


def at_positions(
    steps: Float[Tensor, "time batch units"], positions: Int[Tensor, " batch"]
) -> Float[Tensor, "batch units"]:
    """Return one step of every sequence."""
    return steps[positions, torch.arange(steps.shape[1], device=steps.device)]


def step_at(trace: Trace, positions: Int[Tensor, " batch"]) -> tuple[Step, State]:
    """Return one step of every sequence, by position in reading order, and the state that it started from."""

    def chosen(steps: Tensor) -> Tensor:
        return at_positions(steps, positions)

    unrolled = trace.unrolled
    steps = unrolled.steps
    step = Step(
        chosen(steps.emitted),
        None if steps.cell is None else chosen(steps.cell),
        tuple(chosen(gate) for gate in steps.gates),
        tuple(chosen(preactivation) for preactivation in steps.preactivations),
        tuple(chosen(kept) for kept in steps.kept),
    )
    cell = unrolled.previous_cell
    return step, State(chosen(unrolled.previous_hidden), None if cell is None else chosen(cell))
