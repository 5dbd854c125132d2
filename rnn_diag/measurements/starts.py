"""The states that a layer's calls started from: zero, what the call before left, or something else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnn_diag.diagnostics.numerics.reading_order import at_positions, last_read
from rnn_diag.pending import Pending
from rnn_diag.trace import Trace

ROUNDING = 1e-3
"""Relative difference between the state that a call left and the next one's; half precision rounds by less."""


@dataclass(frozen=True)
class InitialStates:
    """The initial states of one layer's calls.

    Attributes:
        carried: Whether a call started from the state that the one before had ended in, with the gradient cut between.
        at_zero: Whether all of them started from zero.
        cut_off: Whether one started from another state that is off the graph: a carried one, or data.
        began: `[batch, hidden]` the state that the first call started from, if that was off the graph; None otherwise.
        ended: The state that the last call ended in; None where no graph was built.
    """

    carried: bool = False
    at_zero: bool = False
    cut_off: bool = False
    began: Tensor | None = None
    ended: Tensor | None = None

    @classmethod
    def of(cls, trace: Trace) -> InitialStates:
        """Return those of one call; calls without a graph, such as those that draw samples, are left out."""
        return cls.pending(trace).here()

    @classmethod
    def pending(cls, trace: Trace) -> Pending[InitialStates]:
        """Ask the call's device for what they are made of."""
        if not trace.provenance.on_graph:
            return Pending.known(cls())
        last = trace.hidden[0] if trace.reverse else at_positions(trace.hidden, last_read(trace))
        return Pending((trace.initial_hidden, last), partial(cls._made_of, trace))

    @classmethod
    def _made_of(cls, trace: Trace, initial: Tensor, ended: Tensor) -> InitialStates:
        differ = bool(initial.any()) and (len(initial) == 1 or bool((initial != initial[:1]).any()))
        off_graph = not trace.provenance.state_on_graph
        return cls(
            at_zero=not bool(initial.any()),
            cut_off=off_graph and differ and not _is_out_of_reach(trace, initial),
            began=initial if off_graph else None,
            ended=ended,
        )

    def __add__(self, later: InitialStates) -> InitialStates:
        return InitialStates(
            self.carried or later.carried or _continues(self.ended, later.began),
            self.at_zero and later.at_zero,
            self.cut_off or later.cut_off,
            self.began,
            later.ended,
        )


def _is_out_of_reach(trace: Trace, initial: Tensor) -> bool:
    """Return whether the state is none that the layer could have ended in, so that it was not carried over."""
    bounded = trace.has_equations and trace.equations.hidden_is_bounded and trace.weights.weight_hr is None
    return bounded and bool(initial.abs().max() > 1 + ROUNDING)


def _continues(ended: Tensor | None, began: Tensor | None) -> bool:
    """Return whether every sequence starts from the state that it ended in before, or anew from zero."""
    if ended is None or began is None or ended.shape != began.shape or not bool(began.any()):
        return False
    same = torch.isclose(ended.float(), began.float(), rtol=ROUNDING, atol=1e-6).flatten(1).all(-1)
    return bool((same | (began == 0).flatten(1).all(-1)).all())
