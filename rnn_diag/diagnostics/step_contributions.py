"""What each step adds to the gradient of the recurrent weights, and whether early and late steps cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnn_diag.diagnostics.numerics.precision import in_double
from rnn_diag.diagnostics.numerics.reading_order import in_reading_order, padding_as_nan
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float


def step_weight_grad_norms(trace: Trace) -> Float[Tensor, "time batch"]:
    r"""Return the Frobenius norm of what each step adds to the gradient of the recurrent weights.

    .. math:: \lVert \delta_t h_{t-1}^T \rVert_F = \lVert \delta_t \rVert_2 \lVert h_{t-1} \rVert_2

    The contributions are matrices, and may cancel in the sum: see `early_late_cosine`.

    Returns:
        One norm per timestep and sequence, in units of loss per unit of weight; NaN at padding.

    Raises:
        RuntimeError: If the trace holds no gradients.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> step_weight_grad_norms(linear_trace(0.5, steps=3)).flatten().tolist()  # w^(T-1-t) times w^t
        [0.25, 0.25, 0.25]
    """
    deltas, before = (torch.linalg.vector_norm(vectors, dim=-1) for vectors in _factors(trace))
    return padding_as_nan(trace, in_reading_order(trace, deltas * before))


def early_late_cosine(trace: Trace) -> Float[Tensor, " batch"]:
    r"""Return the cosine between what the early and the late half of each sequence ask of the recurrent weights.

    .. math:: \cos\Bigl(\sum_{t < T/2} \delta_t h_{t-1}^T,\; \sum_{t \ge T/2} \delta_t h_{t-1}^T\Bigr)

    Halves are of the steps in the order of reading; an odd step in the middle counts as late. At -1 the halves cancel.

    Returns:
        One cosine per sequence; NaN where a half contributes nothing.

    Raises:
        RuntimeError: If the trace holds no gradients.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> early_late_cosine(linear_trace(-1.0, steps=2)).item()
        1.0
    """
    deltas, before = _factors(trace)
    cosines = []
    for sequence, length in enumerate(trace.lengths.tolist()):
        early, late = (
            deltas[half, sequence].T @ before[half, sequence]
            for half in (slice(0, length // 2), slice(length // 2, length))
        )
        cosines.append((early * late).sum() / (early.norm() * late.norm()))
    return torch.stack(cosines)


def _factors(trace: Trace) -> tuple[Tensor, Tensor]:
    """Return the factors `δ_t` and `h_{t-1}` of every step's weight gradient, in reading order."""
    return in_double(trace.swept.recurrent_grad), in_double(trace.unrolled.previous_hidden)
