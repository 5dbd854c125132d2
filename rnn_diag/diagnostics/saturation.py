"""How often gates are shut or open, which units are stuck, and how often tanh and ReLU units are past their slope."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnn_diag.arguments import number, thresholds
from rnn_diag.cells.gate import Gate
from rnn_diag.diagnostics.numerics.precision import in_single
from rnn_diag.diagnostics.numerics.share import Share
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float, Int

STUCK = 0.99
"""A unit that is shut, or open, at this share of its steps counts as always so."""


class UnitState(IntEnum):
    """What a gate's unit does over all data."""

    UNDECIDED = 0
    STUCK_SHUT = 1
    STUCK_OPEN = 2
    SWITCHING = 3
    NOT_FINITE = 4


@dataclass(frozen=True)
class GateSaturation:
    """How often each sigmoid gate was shut (left-saturated) and open (right-saturated) over valid steps.

    `+` merges further batches and ranks exactly: what is stored are counts.
    """

    shut: Share
    open: Share

    @property
    def gates(self) -> tuple[str, ...]:
        """The gates' names, in the order of the axis `gate`."""
        return self.shut.blocks

    @property
    def left(self) -> Float[Tensor, "gate hidden"]:
        """Share of valid steps at which the unit was shut."""
        return self.shut.by_unit

    @property
    def right(self) -> Float[Tensor, "gate hidden"]:
        """Share of valid steps at which the unit was open."""
        return self.open.by_unit

    @property
    def left_by_step(self) -> Float[Tensor, "gate time"]:
        """Share of units that were shut, at every step."""
        return self.shut.by_step

    @property
    def right_by_step(self) -> Float[Tensor, "gate time"]:
        """Share of units that were open, at every step."""
        return self.open.by_step

    def __add__(self, other: GateSaturation) -> GateSaturation:
        return GateSaturation(self.shut + other.shut, self.open + other.open)


def gate_saturation(trace: Trace, low: float = 0.1, high: float = 0.9) -> GateSaturation:
    """Return how often every sigmoid gate is saturated over valid steps, by unit and by step.

    Left-saturated (shut) is strictly below `low`, right-saturated (open) strictly above `high`. The pre-activation is
    compared with where the sigmoid has these values, as half precision rounds a sigmoid to 1 early. A GRU's *open*
    update gate remembers. Tanh blocks are not mixed in: see `tanh_saturation`. A plain RNN has no gates, so no rows.

    Args:
        trace: What was recorded.
        low: A gate below it is shut.
        high: A gate above it is open.

    Raises:
        ValueError: Unless `0 <= low < high <= 1`.

    Example:
        >>> from rnn_diag.testing.known import forgetting_trace
        >>> saturation = gate_saturation(forgetting_trace(0.95, steps=4))
        >>> saturation.gates
        ('input', 'forget', 'output')
        >>> saturation.left.flatten().tolist(), saturation.right.flatten().tolist()
        ([1.0, 0.0, 0.0], [0.0, 1.0, 1.0])

    Reference:
        Karpathy, Johnson, Fei-Fei 2015, section 4.2, https://arxiv.org/abs/1506.02078
    """
    thresholds(low, high)
    blocks = _preactivations(trace, [gate for gate in trace.equations.gates if gate.is_sigmoid])
    if not blocks:
        none = _no_blocks(trace)
        return GateSaturation(none, none)
    return GateSaturation(
        Share.where(trace, blocks, lambda z, room: torch.lt(z, _logit(low), out=room)),
        Share.where(trace, blocks, lambda z, room: torch.gt(z, _logit(high), out=room)),
    )


def unit_states(saturation: GateSaturation, stuck: float = STUCK) -> Int[Tensor, "gate hidden"]:
    """Return what every unit of every gate does, as a `UnitState`, judged over all batches that were added up.

    A unit is stuck shut (open) when it is shut (open) at no less than `stuck` of all valid steps. It is switching, and
    so at work, when it is shut and open at more than `1 - stuck` of them each. All others are undecided.

    Args:
        saturation: The sum over as many batches as there are.
        stuck: Share of valid steps that counts as always.

    Raises:
        ValueError: Unless `0.5 < stuck <= 1`.

    Example:
        >>> from rnn_diag.testing.known import forgetting_trace
        >>> states = unit_states(gate_saturation(forgetting_trace(0.5, steps=4)))
        >>> [UnitState(state).name for state in states.flatten().tolist()]
        ['STUCK_SHUT', 'UNDECIDED', 'STUCK_OPEN']
    """
    number("stuck", stuck, above=0.5, at_most=1)
    left, right = saturation.left, saturation.right
    rare = 1 - stuck
    states = torch.full(left.shape, UnitState.UNDECIDED.value, device=left.device)
    states.masked_fill_((left > rare) & (right > rare), UnitState.SWITCHING)
    states.masked_fill_(left >= stuck, UnitState.STUCK_SHUT)
    states.masked_fill_(right >= stuck, UnitState.STUCK_OPEN)
    return states.masked_fill_(left.isnan() | right.isnan(), UnitState.NOT_FINITE)


def tanh_saturation(trace: Trace, threshold: float = 0.9) -> Share:
    r"""Return how often every tanh unit is saturated: :math:`|\tanh z|` strictly above the threshold, over valid steps.

    The blocks are the recurrence's tanh blocks (a candidate, a plain RNN's hidden state), and `cell` for the
    :math:`\tanh c_t` through which an LSTM emits its memory.

    Args:
        trace: What was recorded.
        threshold: From which magnitude on a unit counts as saturated.

    Raises:
        ValueError: Unless `0 <= threshold <= 1`.

    Example:
        >>> from rnn_diag.testing.known import forgetting_trace
        >>> share = tanh_saturation(forgetting_trace(0.5, steps=4))
        >>> share.blocks, share.mean.tolist()
        (('candidate', 'cell'), [0.0, 0.0])
    """
    number("threshold", threshold, at_least=0, at_most=1)
    blocks = _preactivations(trace, [b for b in trace.equations.blocks if (b.low, b.high) == (-1.0, 1.0)])
    if trace.cell is not None and trace.equations.shows_tanh:
        blocks["cell"] = in_single(trace.cell)
    if not blocks:
        return _no_blocks(trace)
    beyond = math.atanh(threshold) if threshold < 1 else math.inf
    return Share.where(trace, blocks, lambda z, room: torch.abs(z, out=room).gt_(beyond))


def relu_silence(trace: Trace) -> Share:
    """Return how often every ReLU unit is silent (its pre-activation not positive), over valid steps.

    A unit whose share is 1 over all data is dead: no gradient passes it.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> relu_silence(linear_trace(0.5, steps=3)).blocks  # no ReLU in it
        ()
    """
    rectified = [block for block in trace.equations.blocks if (block.low, block.high) == (0.0, float("inf"))]
    relus = [block for block in rectified if block.role is None]  # an exponential gate or candidate never falls silent
    blocks = _preactivations(trace, relus)
    return Share.where(trace, blocks, lambda z, room: torch.le(z, 0, out=room)) if blocks else _no_blocks(trace)


def _preactivations(trace: Trace, blocks: list[Gate]) -> dict[str, Tensor]:
    return {block.name: in_single(trace.preactivations[block.name]) for block in blocks}


def _logit(share: float) -> float:
    """Return where a sigmoid has a value, its ends included."""
    return math.log(share) - math.log1p(-share) if 0 < share < 1 else math.copysign(math.inf, share - 0.5)


def _no_blocks(trace: Trace) -> Share:
    steps, units = trace.hidden.shape[0], trace.unrolled.steps.emitted.shape[-1]
    sequences = trace.mask.sum(1).double()
    return Share((), sequences.new_zeros(0, units), sequences.new_zeros(0, steps), sequences)
