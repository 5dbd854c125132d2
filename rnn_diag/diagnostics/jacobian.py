"""How a layer's full state depends on the one before, and on one many steps before."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from rnn_diag.cells.equations import State
from rnn_diag.diagnostics.numerics.krylov import bidiagonal
from rnn_diag.diagnostics.numerics.precision import in_double, weights_in_double
from rnn_diag.diagnostics.numerics.reading_order import step_at
from rnn_diag.diagnostics.numerics.tangent import Tangent
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float


class ExtremeSingularValues(NamedTuple):
    """The largest and the smallest singular value of one matrix for each sequence."""

    largest: Float[Tensor, " batch"]
    smallest: Float[Tensor, " batch"]


def state_jacobian(trace: Trace, t: int) -> Float[Tensor, "batch state state"]:
    r"""Return the Jacobian of the full state at step `t`, :math:`\partial s_t / \partial s_{t-1}`.

    Rows are the new state. What the model does to the state before it gives it to the step, such as dropout, is part of
    the step. The full state is `h`, or `(h, c)` with the hidden part first: an LSTM cannot be judged
    without its memory. In a reverse layer the step before is `t+1`.

    Args:
        trace: What was recorded; no gradients are needed.
        t: Step of the input; a negative one counts from the end of the trace.

    Returns:
        One matrix per sequence, NaN for a sequence that has no step `t`.

    Raises:
        ValueError: If there is no such step.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> state_jacobian(linear_trace([[0.9, 1.0], [0.0, 0.9]], steps=3), 0)[0].tolist()
        [[0.9, 1.0], [0.0, 0.9]]
    """
    steps = len(trace.mask)
    if not -steps <= t < steps:
        raise ValueError(f"step {t}; expected one of a trace of {steps} steps")
    valid = trace.mask[t]
    positions = trace.lengths - 1 - t % steps if trace.reverse else torch.full_like(trace.lengths, t % steps)
    step, before = step_at(trace, positions.clamp(min=0))
    in_doubles = type(step)(
        in_double(step.emitted),
        None if step.cell is None else in_double(step.cell),
        tuple(in_double(gate) for gate in step.gates),
        tuple(in_double(preactivation) for preactivation in step.preactivations),
        tuple(in_double(saved) for saved in step.kept),
    )
    previous = State(in_double(before.hidden), None if before.cell is None else in_double(before.cell))
    jacobian = trace.equations.jacobian(in_doubles, previous, weights_in_double(trace.weights))
    if trace.unrolled.between is not None and t % steps:
        jacobian = jacobian * in_double(trace.unrolled.between.factor(t % steps)).unsqueeze(1)
    return torch.where(valid.to(jacobian.device).view(-1, 1, 1), jacobian, float("nan"))


def jacobian_product_singular_values(
    trace: Trace, start: int = 0, stop: int | None = None, iterations: int = 32
) -> ExtremeSingularValues:
    r"""Return how much the steps from `start` to before `stop` stretch and squeeze a small change of the full state.

    .. math:: J_{stop-1} \cdots J_{start+1} J_{start}, \qquad J_t = \partial s_t / \partial s_{t-1}

    Products are applied, never formed. A largest value above 1 lets some gradients explode, a smallest near 0 lets some
    vanish; padding holds the state, so a short sequence has the product of its valid steps.

    Args:
        trace: What was recorded; no gradients are needed.
        start: First step, in the order of reading.
        stop: Step before which to end, in the order of reading; the end of the trace by default.
        iterations: Golub-Kahan steps. As many steps as the state has entries are exact, to rounding errors of the
            largest; fewer approach the largest from below and the smallest from above.

    Returns:
        One pair per sequence, NaN where the product is not finite.

    Raises:
        ValueError: If the steps are not within the trace, or none is left.
        RuntimeError: If the recurrence's adjoint is not on the autograd graph.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> values = jacobian_product_singular_values(linear_trace([[0.5, 0.0], [0.0, 2.0]], steps=3))
        >>> round(values.largest.item(), 9), round(values.smallest.item(), 9)
        (8.0, 0.125)

    Reference:
        Saxe, McClelland, Ganguli 2014, https://arxiv.org/abs/1312.6120; Golub, Kahan 1965,
        https://doi.org/10.1137/0702016
    """
    tangent = Tangent.of(trace)
    stop = tangent.steps if stop is None else stop
    if not 0 <= start < stop <= tangent.steps:
        raise ValueError(f"steps {start} to {stop}; expected a part of a trace of {tangent.steps} steps")

    def apply(directions: Tensor) -> Tensor:
        directions = directions.unsqueeze(0)
        for t in range(start, stop):
            directions = tangent.forward(t, directions)
        return directions[0]

    def apply_transposed(grads: Tensor) -> Tensor:
        grads = grads.unsqueeze(0)
        for t in reversed(range(start, stop)):
            grads = tangent.backward(t, grads)
        return grads[0]

    size = tangent.state_size
    iterations = min(iterations, size)
    bands = bidiagonal(apply, apply_transposed, trace.mask.shape[1], size, iterations, tangent.mask.device).matrix
    finite = bands.isfinite().all(-1).all(-1)
    values = torch.linalg.svdvals(torch.where(finite.view(-1, 1, 1), bands, 0.0))
    values = values.masked_fill(~finite.unsqueeze(-1), float("nan"))
    return ExtremeSingularValues(values[:, 0], values[:, -1])
