"""How far back a single loss, or a single state, still reaches: gradients resolved by lag."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from rnn_diag.cells.equations import State
from rnn_diag.diagnostics.numerics.precision import in_double
from rnn_diag.diagnostics.numerics.reading_order import at_positions, in_reading_order, last_read, step_at
from rnn_diag.engine.targets import norms_of
from rnn_diag.source import LayerSource
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    Targets = Sequence[int] | Int[Tensor, " target"] | Int[Tensor, "target batch"]

ROUNDING = 1e-5
"""Share of a total gradient below which the direct part, a difference, is put down to rounding."""

_VALUES_AT_ONCE = 2**23  # of one tensor of a sweep that carries many targets; bounds the memory
_swept_before: WeakKeyDictionary[Trace, dict[Hashable, Tensor]] = WeakKeyDictionary()  # so that none is swept twice
_spread_before: WeakKeyDictionary[Trace, dict[int, LaggedNorms]] = WeakKeyDictionary()


class LaggedNorms(NamedTuple):
    """What losses at steps spread over each sequence send back, through `h` and through `c`.

    Attributes:
        targets: The steps, as `spread_targets` gives them.
        enters: Whether a loss enters there.
        hidden: As `lagged_grad_norms` gives them.
        cell: As `lagged_cell_grad_norms` gives them; None for a recurrence without a memory cell.
    """

    targets: Int[Tensor, "target batch"]
    enters: Bool[Tensor, "target batch"]
    hidden: Float[Tensor, "lag target batch"]
    cell: Float[Tensor, "lag target batch"] | None


def lagged_grad_norms(trace: Trace, targets: Targets) -> Float[Tensor, "lag target batch"]:
    r"""Return how much of the loss gradient of single steps arrives at the hidden states before them.

    .. math:: g_{\tau, t'} = \Bigl\lVert \Bigl(\frac{\partial h_{t'}}{\partial h_{t'-\tau}}\Bigr)^T
        \Bigl(\frac{\partial L}{\partial h_{t'}}\Bigr)_{direct} \Bigr\rVert_2

    Only what entered the layer at step `t'` travels back: with a loss at every step the total gradient looks flat
    although nothing travels far, and only this shows it. The lag is counted in the order of reading: in a reverse layer
    it leads to later steps of the input. A gradient of the final state belongs to the last step read.

    Args:
        trace: What was recorded.
        targets: Steps of the input, `t'`, of all sequences alike or of each; negative ones count from the end of each
            sequence.

    Returns:
        In units of loss per unit of hidden state; NaN before the first step read and for targets in the padding.

    Raises:
        RuntimeError: If the trace holds no gradients.
        ValueError: If a target is outside the trace.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> lagged_grad_norms(linear_trace(0.5, steps=3), targets=[-1]).flatten().tolist()
        [1.0, 0.5, 0.25]

    Reference:
        Verwimp et al. 2018, State gradients for RNN memory analysis, https://arxiv.org/abs/1805.04264
    """
    positions = _positions(trace, targets)
    return _by_lag(_lagged_losses(trace, positions)[0], positions)


def lagged_cell_grad_norms(trace: Trace, targets: Targets) -> Float[Tensor, "lag target batch"]:
    """Return how much of the loss gradient of single steps arrives at the memory cells before them.

    As `lagged_grad_norms`, for `c`: in an LSTM most of what travels far travels there.

    Raises:
        RuntimeError: If the trace holds no gradients.
        ValueError: If a target is outside the trace, or the recurrence has no memory cell.

    Example:
        >>> from rnn_diag.testing.known import forgetting_trace
        >>> norms = lagged_cell_grad_norms(forgetting_trace(0.5, steps=3), targets=[-1]).flatten()
        >>> (norms / norms[0]).tolist()
        [1.0, 0.5, 0.25]
    """
    if not trace.equations.has_cell:
        raise ValueError(f"{trace.layer!r} is a {trace.equations.name}, without a memory cell; use lagged_grad_norms")
    positions = _positions(trace, targets)
    return _by_lag(_lagged_losses(trace, positions)[1], positions)


def spread_targets(trace: Trace, count: int) -> Int[Tensor, "target batch"]:
    """Return steps spread evenly over those of each sequence at which a loss enters, from the last one read on.

    Without gradients, over all its steps. Depends on each sequence alone, not on which others are in the batch.

    Args:
        trace: What was recorded.
        count: Number of steps for each sequence.

    Returns:
        Targets; a sequence that has fewer such steps gets steps without a loss, or padding, for those that it lacks.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> spread_targets(linear_trace(1.0, steps=9), 3).flatten().tolist()  # only the last step has a loss
        [8, 7, 7]
    """
    return _spread(trace, count)[0]


def spread_lagged_norms(trace: Trace, count: int) -> LaggedNorms:
    """Return the lagged norms of `spread_targets`; the sweep that finds them serves the whole loss, too.

    Args:
        trace: What was recorded.
        count: Number of steps for each sequence.

    Raises:
        RuntimeError: If the trace holds no gradients.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> found = spread_lagged_norms(linear_trace(0.5, steps=3), 1)
        >>> found.targets.item(), found.hidden.flatten().tolist(), found.cell
        (2, [1.0, 0.5, 0.25], None)
    """
    known = _spread_before.setdefault(trace, {})
    if count not in known:
        targets, enters = _spread(trace, count)
        positions = _read_at(trace, targets)
        norms = _swept_losses(trace, positions)
        hidden, *cell = (_by_lag(of_part, positions) for of_part in norms)
        known[count] = LaggedNorms(targets, enters, hidden, cell[0] if cell else None)
    return known[count]


def _spread(trace: Trace, count: int) -> tuple[Int[Tensor, "target batch"], Bool[Tensor, "target batch"]]:
    """Return steps spread over those at which a loss enters, and whether one enters there."""
    count = min(count, len(trace.mask))
    enters = loss_enters(trace).int()
    counted, found = enters.cumsum(0), enters.sum(0)
    rank = torch.arange(count, device=found.device).unsqueeze(1)
    from_last = torch.where(found < count, rank, rank * (found - 1) // max(count - 1, 1))
    wanted = found - from_last if not trace.reverse else 1 + from_last  # the last one read of all is the first of these
    matches = ((counted.unsqueeze(1) == wanted) & (enters.unsqueeze(1) == 1)).int()
    elsewhere = len(enters) - 1 - (1 - enters).flip(0).argmax(0)
    targets = torch.where(matches.any(0), matches.argmax(0), elsewhere)
    return targets, enters.gather(0, targets) == 1


def loss_enters(trace: Trace) -> Bool[Tensor, "time batch"]:
    """Return the steps at which a loss enters a layer directly: through its output, or through the final state.

    All valid steps where no gradient was recorded.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> loss_enters(linear_trace(1.0, steps=3)).flatten().tolist()
        [False, False, True]
    """
    if not trace.has_gradients:
        return trace.mask
    if isinstance(trace.source, LayerSource):
        return in_reading_order(trace, trace.source.loss_enters.unsqueeze(-1)).squeeze(-1) & trace.mask
    direct, total = (in_double(one) for one in (trace.hidden_grad_direct, trace.hidden_grad))
    enters: Tensor = direct.norm(dim=-1) > ROUNDING * total.norm(dim=-1).nan_to_num()
    final, cell_grad = _final_cell_grad(trace), trace.cell_grad
    if final is not None and cell_grad is not None:
        last = last_read(trace), torch.arange(len(final), device=final.device)
        enters[last] |= in_double(final).norm(dim=-1) > ROUNDING * in_double(cell_grad[last]).norm(dim=-1)
    return enters.to(trace.mask.device) & trace.mask


def lagged_state_norms(trace: Trace, targets: Targets, probes: int | None = None) -> Float[Tensor, "lag target batch"]:
    r"""Return how much single hidden states depend on those before them, whatever the loss is.

    .. math:: \Bigl\lVert \frac{\partial h_{t'}}{\partial h_{t'-\tau}} \Bigr\rVert_F

    Needs no backward pass. An LSTM's memory carries more past `h` than this shows: its `c` is not varied with `h`.

    Args:
        trace: What was recorded.
        targets: Steps of the input, `t'`; negative ones count from the end of each sequence.
        probes: Number of random sign vectors, always the same ones, to estimate from; by default one sweep per unit,
            exactly.

    Returns:
        Frobenius norms, `sqrt(units)` at lag 0; NaN before the first step read and for targets in the padding.

    Raises:
        ValueError: If a target is outside the trace.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> lagged_state_norms(linear_trace([[0.0, 2.0], [0.0, 0.0]], steps=3), targets=[-1]).flatten()
        tensor([1.4142, 2.0000, 0.0000], dtype=torch.float64)
    """
    positions = _positions(trace, targets)
    units = trace.unrolled.hidden.shape[-1]
    directions = torch.eye(units) if probes is None else _signs(probes, units)
    entering = directions.to(trace.unrolled.hidden).view(-1, 1, 1, units).expand(-1, *positions.shape, units)
    norms = _swept_from(trace, positions.repeat(len(directions), 1), entering.flatten(0, 1))[0]
    squares = norms.view(len(norms), len(directions), *positions.shape).square()
    return _by_lag((squares.sum(1) if probes is None else squares.mean(1)).sqrt(), positions)


def sweep_with_targets(trace: Trace, targets: Targets) -> None:
    """Sweep the loss of a trace, and what of it enters at single steps, at once, for all measures that read either.

    It changes no number: it only sweeps now what would be swept when it is first read.

    Args:
        trace: What was recorded.
        targets: As of `lagged_grad_norms`.

    Raises:
        RuntimeError: If the trace holds no gradients.
        ValueError: If a target is outside the trace.
    """
    _lagged_losses(trace, _positions(trace, targets))


def _lagged_losses(trace: Trace, positions: Int[Tensor, "target batch"]) -> Float[Tensor, "part time target batch"]:
    """Return the norms of what single losses send to every hidden state and memory cell; swept once for both."""
    swept, key = _swept_before.setdefault(trace, {}), tuple(map(tuple, positions.tolist()))
    if key not in swept:
        swept[key] = _swept_losses(trace, positions)
    return swept[key]


def _swept_losses(trace: Trace, positions: Int[Tensor, "target batch"]) -> Float[Tensor, "part time target batch"]:
    """Sweep single losses: with the whole loss where that is not swept yet, and a GPU has the memory for all."""
    source = trace.source
    fits = not trace.hidden.is_cuda or trace.hidden.numel() * (1 + len(positions)) <= _VALUES_AT_ONCE
    if isinstance(source, LayerSource) and not source.is_swept and fits and trace.has_gradients:
        return source.sweep_with_targets(positions)
    direct = in_reading_order(trace, trace.hidden_grad_direct)
    entering = torch.stack([at_positions(direct, chosen.clamp(min=0)) for chosen in positions])
    return _swept_from(trace, positions, entering, _final_cell_grad(trace))


def _positions(trace: Trace, targets: Targets) -> Int[Tensor, "target batch"]:
    """Return every target's position in reading order, for each sequence; -1 where it is padding."""
    chosen = torch.as_tensor(targets, device=trace.mask.device)
    if chosen.dim() not in (1, 2) or not chosen.numel():
        raise ValueError(f"targets are {targets!r}; expected a list of steps, such as [-1], or [target, batch] of them")
    if (chosen != chosen.long()).any():
        raise TypeError(f"targets are {chosen.flatten().tolist()}; expected whole numbers, the steps themselves")
    chosen = (chosen.view(-1, 1) if chosen.dim() == 1 else chosen).long()
    steps, batch = trace.mask.shape
    if chosen.shape[1] not in (1, batch):
        raise ValueError(f"targets of {chosen.shape[1]} sequences; expected the same for all, or of each of {batch}")
    if ((chosen >= steps) | (chosen < -steps)).any():
        raise ValueError(f"targets {chosen.flatten().tolist()}; expected steps of a trace of {steps}, from {-steps}")
    return _read_at(trace, torch.where(chosen < 0, chosen + trace.lengths, chosen))


def _read_at(trace: Trace, step: Int[Tensor, "target batch"]) -> Int[Tensor, "target batch"]:
    """Return when steps of the input are read; -1 for padding."""
    position = trace.lengths - 1 - step if trace.reverse else step
    return torch.where((step >= 0) & (step < trace.lengths), position, -1)


def _swept_from(
    trace: Trace,
    positions: Int[Tensor, "target batch"],
    entering: Float[Tensor, "target batch projected"],
    final_cell: Float[Tensor, "batch hidden"] | None = None,
) -> Float[Tensor, "part time target batch"]:
    """Return the norm of what arrives at every step, in reading order, when gradients enter at one step per target.

    The first part is the hidden state, the second the memory cell, where there is one.
    """
    steps = len(trace.mask)
    at_once = max(1, _VALUES_AT_ONCE // (steps * entering[0].numel()))
    norms = []
    for chosen, vectors in zip(positions.split(at_once), entering.split(at_once), strict=True):
        at_step = torch.arange(steps, device=chosen.device).view(-1, 1, 1, 1) == chosen.unsqueeze(-1)
        final = None
        if final_cell is not None:
            is_last = (chosen == last_read(trace)).unsqueeze(-1)
            final = State(torch.zeros_like(vectors), torch.where(is_last, final_cell, 0.0))
        swept = trace.sweep(torch.where(at_step, vectors, 0.0), final)
        norms.append(norms_of(swept))
    return torch.cat(norms, dim=2)


def _final_cell_grad(trace: Trace) -> Float[Tensor, "batch hidden"] | None:
    """Return the gradient of the final memory that did not come through the last hidden state."""
    if trace.swept.cell_grad is None:
        return None
    last, weights = last_read(trace), trace.weights
    step, before = step_at(trace, last)
    hidden_grad = at_positions(trace.swept.hidden_grad, last)
    emitted_grad = hidden_grad if weights.weight_hr is None else hidden_grad @ weights.weight_hr
    through_hidden = trace.equations.adjoint(step, before, emitted_grad, None, weights).cell_grad
    assert through_hidden is not None
    return at_positions(trace.swept.cell_grad, last) - through_hidden


def _by_lag(
    norms: Float[Tensor, "time target batch"], positions: Int[Tensor, "target batch"]
) -> Float[Tensor, "lag target batch"]:
    source = positions - torch.arange(len(norms), device=positions.device).view(-1, 1, 1)
    by_lag = norms.gather(0, source.clamp(min=0).to(norms.device))
    return by_lag.masked_fill((source < 0).to(norms.device), math.nan)


def _signs(probes: int, units: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(2, (probes, units), generator=generator).double() * 2 - 1
