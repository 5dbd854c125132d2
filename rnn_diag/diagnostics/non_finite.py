"""Where the first value that is not finite came up: in which layer, at which step, in which sequence, in what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from rnn_diag.pending import Pending
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float, Int


@dataclass(frozen=True)
class NonFinite:
    """The first value of a layer that is not finite.

    Attributes:
        layer: The layer's name.
        what: `weight_ih`, `weight_hh`, …; `initial hidden`, `initial cell`; `input`, `preactivation`, `gate`, `cell`,
            `hidden`; `hidden_grad`, `cell_grad`, `preactivation_grad`.
        gate: The gate or block, where `what` has several.
        step: The step of the input, or None for what is there before any step.
        sequence: The sequence of the batch, or None for a weight.
        unit: The unit; of a weight, the row of its block.
        value: `nan`, `inf` or `-inf`.
    """

    layer: str
    what: str
    gate: str | None
    step: int | None
    sequence: int | None
    unit: int
    value: float

    def __str__(self) -> str:
        what = self.what if self.gate is None else f"{self.what} {self.gate!r}"
        at = "" if self.step is None else f" at step {self.step}"
        of = "" if self.sequence is None else f" of sequence {self.sequence}"
        return f"{self.layer}: {what}{at}{of}, unit {self.unit}, is {self.value}"


class Ran(Protocol):
    """What knows its traces in the order in which their layers ran, such as a recording."""

    def in_order(self) -> list[Trace]:
        """Return the traces."""


Quantity = tuple[str, str | None, Tensor]


def first_non_finite(trace: Trace) -> NonFinite | None:
    """Return the first value of a layer that is not finite, or None.

    First is meant in the order of computing: weights and initial state; then step after step in the order of reading,
    at every step the input before the pre-activations, gates, memory cell and hidden state; then the gradients, from
    the last step back. Of several at once it is the one of the first sequence. Padding does not count. Sequences do
    not mix within a layer, so what is not finite in one says nothing of the others.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> trace = linear_trace(0.8, steps=5)
        >>> trace.inputs[3] = float("inf")
        >>> print(first_non_finite(trace))
        l0: input at step 3 of sequence 0, unit 0, is inf
    """
    return first_non_finite_pending(trace).here()


def first_non_finite_pending(trace: Trace) -> Pending[NonFinite | None]:
    """Ask a trace's device whether all values are finite; only where some are not, it is waited for to tell which."""
    sums = [_sums(_all_forward(trace)), *([_sums(_gradients(trace))] if trace.has_gradients else [])]

    def first(forward: Tensor, gradients: Tensor | None = None) -> NonFinite | None:
        found = None if _are_finite(forward) else _first_forward(trace)
        is_searched = found is None and gradients is not None and not _are_finite(gradients)
        return _first_gradient(trace) if is_searched else found

    return Pending(sums, first)


def first_non_finite_of(recording: Ran) -> NonFinite | None:
    """Return the first value that is not finite in any layer, or None.

    States are looked at in the order in which the layers ran, then gradients in the opposite order.
    """
    traces = recording.in_order()
    forward = (found for trace in traces if (found := _first_forward(trace)) is not None)
    backward = (found for trace in reversed(traces) if (found := _first_gradient(trace)) is not None)
    return next(forward, None) or next(backward, None)


def _first_forward(trace: Trace) -> NonFinite | None:
    if _are_finite(_sums(_all_forward(trace))):
        return None
    for what, values in _before_any_step(trace):
        found = (~values.isfinite()).nonzero()
        if len(found):
            return _unstepped(trace, what, values, found[0].tolist())
    return _earliest(trace, list(_forward(trace)), _reading_order(trace))


def _first_gradient(trace: Trace) -> NonFinite | None:
    if not trace.has_gradients or _are_finite(_sums(_gradients(trace))):
        return None
    return _earliest(trace, list(_gradients(trace)), trace.lengths - 1 - _reading_order(trace))


def _sums(quantities: Iterable[tuple[Any, ...]]) -> Float[Tensor, " quantity"]:
    """Return sums in magnitude: those of finite numbers may fail to be finite, and others never are."""
    return torch.stack([values.sum().abs().float() for *_, values in quantities])


def _are_finite(sums: Float[Tensor, " quantity"]) -> bool:
    return bool(sums.isfinite().all())


def _all_forward(trace: Trace) -> Iterator[tuple[Any, ...]]:
    yield from _before_any_step(trace)
    yield from _without_bounded_gates(trace)


def _before_any_step(trace: Trace) -> Iterator[tuple[str, Tensor]]:
    yield from (trace.weights.present() if trace.has_equations else {}).items()
    yield "initial hidden", trace.initial_hidden
    if trace.initial_cell is not None:
        yield "initial cell", trace.initial_cell


def _forward(trace: Trace) -> Iterator[Quantity]:
    yield "input", None, trace.inputs
    if trace.has_equations:  # of a cell registered without equations only the hidden state is known
        yield from (("preactivation", name, values) for name, values in trace.preactivations.items())
        yield from (("gate", name, values) for name, values in trace.gates.items())
        if trace.cell is not None:
            yield "cell", None, trace.cell
    yield "hidden", None, trace.hidden


def _without_bounded_gates(trace: Trace) -> Iterator[Quantity]:
    """Give what can be other than finite while all else is finite: a bounded gate of finite numbers is finite."""
    bounded = {gate.name for gate in trace.equations.gates if gate.is_bounded} if trace.has_equations else set()
    for what, gate, values in _forward(trace):
        if what != "gate" or gate not in bounded:
            yield what, gate, values


def _gradients(trace: Trace) -> Iterator[Quantity]:
    yield "hidden_grad", None, trace.hidden_grad
    if trace.has_equations:
        if trace.cell_grad is not None:
            yield "cell_grad", None, trace.cell_grad
        yield from (("preactivation_grad", name, values) for name, values in trace.preactivation_grad.items())


def _reading_order(trace: Trace) -> Int[Tensor, "time batch"]:
    """Return when each step was read."""
    steps = torch.arange(len(trace.inputs), device=trace.inputs.device).unsqueeze(1).expand_as(trace.mask)
    return trace.lengths - 1 - steps if trace.reverse else steps


def _earliest(trace: Trace, quantities: list[Quantity], order: Int[Tensor, "time batch"]) -> NonFinite | None:
    """Return what came up first; of one step's quantities, the one that is computed first."""
    never = torch.iinfo(order.dtype).max
    when = [torch.where(_affected(values) & trace.mask, order, never).min() for _, _, values in quantities]
    firsts = torch.stack(when).tolist()
    if min(firsts) == never:
        return None
    what, gate, values = quantities[firsts.index(min(firsts))]
    here = _affected(values) & trace.mask & (order == min(firsts))
    sequence, step = here.T.nonzero()[0].tolist()
    unit = int((~values[step, sequence].isfinite()).nonzero()[0])
    value = float(values[step, sequence].flatten()[unit])
    return NonFinite(trace.layer, what, gate, step, int(trace.sequences[sequence]), unit, value)


def _affected(values: Float[Tensor, "time batch units"]) -> Tensor:
    return ~values.isfinite().flatten(2).all(-1)


def _unstepped(trace: Trace, what: str, values: Tensor, index: list[int]) -> NonFinite:
    value = float(values[tuple(index)])
    if what.startswith("initial"):
        return NonFinite(trace.layer, what, None, None, int(trace.sequences[index[0]]), index[-1], value)
    units = len(values) // len(trace.equations.blocks) if what.startswith(("weight_ih", "weight_hh", "bias")) else 0
    gate = trace.equations.blocks[index[0] // units].name if units else None
    return NonFinite(trace.layer, what, gate, None, None, index[0] % units if units else index[0], value)
