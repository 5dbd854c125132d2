"""Where the first number that is not finite turned up: what people look for when a loss becomes NaN."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from rnn_diag.diagnostics.reading_order import in_reading_order
from rnn_diag.trace import Trace


@dataclass(frozen=True)
class NonFinite:
    """The first NaN or infinity that a layer met.

    Attributes:
        layer: Its name.
        quantity: `inputs`, `preactivation of <block>`, `cell` or `hidden`; with `gradient of ` before it, its gradient.
        step: Step of the input.
        sequence: Position in the trace's batch.
        count: Non-finite numbers of that quantity at valid steps.
    """

    layer: str
    quantity: str
    step: int
    sequence: int
    count: int


def first_nonfinite(trace: Trace) -> NonFinite | None:
    """Return where the first number that is not finite turned up, or None if all are finite.

    Forward quantities come first, in the order in which the layer computes them at each step; then, if there are any,
    gradients, from the last step read backwards. Padding never counts.

    Example:
        >>> from rnn_diag.diagnostics.known_traces import linear_trace
        >>> first_nonfinite(linear_trace(1e200, steps=4)).step  # 1e200, then 1e400
        1
        >>> first_nonfinite(linear_trace(0.5, steps=4)) is None
        True
    """
    forward = {"inputs": trace.inputs}
    forward |= {f"preactivation of {name}": values for name, values in trace.preactivations.items()}
    if trace.cell is not None:
        forward["cell"] = trace.cell
    forward["hidden"] = trace.hidden
    found = _first(trace, forward, backwards=False)
    if found is not None or not trace.has_gradients:
        return found
    backward = {"gradient of hidden": trace.hidden_grad}
    if trace.cell_grad is not None:
        backward["gradient of cell"] = trace.cell_grad
    grads = trace.preactivation_grad.items()
    backward |= {f"gradient of preactivation of {name}": grad for name, grad in grads}
    return _first(trace, backward, backwards=True)


def _first(trace: Trace, quantities: dict[str, Float[Tensor, "time batch units"]], backwards: bool) -> NonFinite | None:
    """Return the earliest in the order of processing; at the same step, the quantity that is named first."""
    firsts = []
    for rank, (name, values) in enumerate(quantities.items()):
        wrong = ~values.isfinite() & trace.mask.to(values.device).unsqueeze(-1)
        count = int(wrong.sum())
        if not count:
            continue
        for position, sequence in in_reading_order(trace, wrong).any(-1).nonzero().tolist():
            firsts.append((-position if backwards else position, rank, sequence, name, count))
    if not firsts:
        return None
    position, _, sequence, name, count = min(firsts)
    position = abs(position)
    step = int(trace.lengths[sequence]) - 1 - position if trace.reverse else position
    return NonFinite(trace.layer, name, step, sequence, count)
