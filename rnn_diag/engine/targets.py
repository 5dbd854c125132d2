"""One sweep for the whole loss and for what of it enters at single steps, none carried further than it must be."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from rnn_diag.cells.equations import Equations, State
from rnn_diag.cells.weights import Weights
from rnn_diag.engine.precision import in_double, is_waited_for
from rnn_diag.engine.replay import replay_sweep
from rnn_diag.engine.sweep import Sweeper, Swept
from rnn_diag.engine.unroll import Unrolled

if TYPE_CHECKING:
    from jaxtyping import Float, Int

AT_ONCE = 2**21
"""Numbers in the pre-activation gradients of the steps that are swept together: eight megabytes in float32."""


class Entering(NamedTuple):
    """The loss as it enters a layer, in processing order.

    Attributes:
        direct: What reaches every hidden state through the output of its own step.
        cell: What reaches the final memory, or None.
        last: The position of every sequence's last step.
    """

    direct: Float[Tensor, "time batch projected"]
    cell: Float[Tensor, "batch hidden"] | None
    last: Int[Tensor, " batch"]

    def at(self, targets: Int[Tensor, "target batch"], start: int, end: int) -> Float[Tensor, "time target batch _"]:
        """Return of some steps what enters at the targets alone."""
        steps = torch.arange(start, end, device=targets.device).view(-1, 1, 1, 1)
        return torch.where(steps == targets.unsqueeze(-1), self.direct[start:end].unsqueeze(1), 0.0)

    def cell_at(self, targets: Int[Tensor, "target batch"]) -> Float[Tensor, "target batch hidden"] | None:
        """Return what reaches the final memory from the targets that are last steps."""
        return None if self.cell is None else torch.where((targets == self.last).unsqueeze(-1), self.cell, 0.0)

    def final(self, cell: Tensor | None, count: int, unrolled: Unrolled) -> State:
        """Return the gradient of the final state for that number of targets, from that of the final memory."""
        hidden = self.direct.new_zeros(count, *self.direct.shape[1:])
        if unrolled.cell is None:
            return State(hidden)
        shape = count, *unrolled.cell.shape[1:]
        return State(hidden, self.direct.new_zeros(shape) if cell is None else cell.expand(shape))


def sweep_with_targets(
    sweeper: Sweeper, equations: Equations, weights: Weights, unrolled: Unrolled, loss: Entering, targets: Tensor
) -> tuple[Swept, Float[Tensor, "part time target batch"]]:
    """Sweep the whole loss, and what of it enters at single steps, at once.

    On a CPU a target is carried only from its own step on, not at all if no loss enters there, and not beside the whole
    loss where all of that enters there. Of targets only norms are kept.

    Args:
        sweeper: The engine.
        equations: The recurrence.
        weights: Its parameters.
        unrolled: What it went through.
        loss: As it enters.
        targets: `[N, B]` positions in processing order; -1 where a sequence has none.

    Returns:
        The sweep of the whole loss, and the norms of what each target sends to hidden states and memory cells.
    """
    carried, alone = _carried(loss, targets)
    if len(carried):
        swept, found = _in_parts(sweeper, equations, weights, unrolled, loss, targets[carried])
        norms = found.new_zeros(*found.shape[:2], *targets.shape).index_copy_(2, carried.to(found.device), found)
    else:
        final = None if loss.cell is None else State(torch.zeros_like(loss.direct[0]), loss.cell)
        swept = sweeper(equations, weights, unrolled, loss.direct, final)
        found = norms_of(swept)
        norms = found.new_zeros(*found.shape[:2], *targets.shape)
    if len(alone):
        norms[:, :, alone] = norms_of(swept).unsqueeze(2)
    return swept, norms


def norms_of(swept: Swept) -> Float[Tensor, "part time *others batch"]:
    """Return the norms of the gradients of hidden states, and of memory cells where there are any, in double."""
    grads = [swept.hidden_grad] if swept.cell_grad is None else [swept.hidden_grad, swept.cell_grad]
    return torch.stack([torch.linalg.vector_norm(in_double(grad), dim=-1) for grad in grads])


def _carried(loss: Entering, targets: Tensor) -> tuple[Int[Tensor, " carried"], Int[Tensor, " alone"]]:
    """Return the targets that need a sweep, the latest first, and those at which all of the loss enters."""
    latest = targets.amax(1).argsort(descending=True, stable=True)
    if is_waited_for(loss.direct):  # one shape for all batches, and no waiting for what the loss is
        return latest, latest[:0]
    enters = (loss.direct != 0).any(-1)
    ends = torch.zeros_like(enters[0]) if loss.cell is None else (loss.cell != 0).any(-1)
    found = enters.gather(0, targets.clamp(min=0)) & (targets >= 0)
    ends_here = ends & (targets == loss.last)
    speaks = (found | ends_here).any(1)
    number = enters.sum(0)
    is_all = ((number == found.long()) & (ends == ends_here)).all(1)
    return latest[(speaks & ~is_all)[latest]], torch.nonzero(speaks & is_all).flatten()


def _in_parts(
    sweeper: Sweeper, equations: Equations, weights: Weights, unrolled: Unrolled, loss: Entering, targets: Tensor
) -> tuple[Swept, Tensor]:
    """Sweep some steps at a time, each time with the targets that are not before them, the latest of which is first."""
    latest = targets.amax(1).tolist()
    carried = loss.final(loss.cell, 1, unrolled)
    norms, wholes = [], []
    rows = equations.recurrent_product.rows(weights.weight_hh)
    for start, end in _parts(sweeper, unrolled, loss, targets, rows):
        now = targets[: sum(one >= start for one in latest)]
        new = now[len(carried.hidden) - 1 :]
        carried = _both(carried, loss.final(loss.cell_at(new), len(new), unrolled))
        direct = torch.cat((loss.direct[start:end].unsqueeze(1), loss.at(now, start, end)), dim=1)
        swept = sweeper(equations, weights, unrolled.part(start, end), direct, carried)
        carried = swept.initial
        found = norms_of(swept)[:, :, 1:]
        norms.append(pad(found, (0, 0, 0, len(targets) - len(now))))
        wholes.append(swept.first())
    return _over_time(wholes[::-1]), torch.cat(norms[::-1], dim=1)


def _parts(sweeper: Sweeper, unrolled: Unrolled, loss: Entering, targets: Tensor, rows: int) -> list[tuple[int, int]]:
    """Return steps that are swept together, the last first: between targets, and few enough for a cache to hold.

    A kernel that runs once more runs over all steps, and so does a sweep through what a model does between steps.
    """
    steps = len(loss.direct)
    if is_waited_for(loss.direct) or unrolled.between is not None or sweeper is replay_sweep:
        return [(0, steps)]
    at_once = max(1, AT_ONCE // max(1, (1 + len(targets)) * loss.direct.shape[1] * rows))
    ends = sorted({0, steps, *(one + 1 for one in targets.amax(1).tolist() if one >= 0)})
    parts = [
        (start, min(start + at_once, end)) for first, end in pairwise(ends) for start in range(first, end, at_once)
    ]
    return parts[::-1]


def _both(some: State, others: State) -> State:
    cell = None if some.cell is None or others.cell is None else torch.cat((some.cell, others.cell))
    return State(torch.cat((some.hidden, others.hidden)), cell)


def _over_time(parts: list[Swept]) -> Swept:
    """Return the sweep of all steps from those of some, in the order of time."""
    if len(parts) == 1:
        return parts[0]
    joined: dict[str, Any] = {"initial": parts[0].initial}
    same = parts[0].recurrent_grad is parts[0].projected_grad
    for field in fields(Swept):
        if field.name not in (*joined, "recurrent_grad" if same else ""):
            steps = [getattr(part, field.name) for part in parts]
            joined[field.name] = None if steps[0] is None else torch.cat(steps)
    return Swept(**{"recurrent_grad": joined["projected_grad"]} | joined)
