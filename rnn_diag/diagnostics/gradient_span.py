"""From which step to which a sequence has a gradient, and how much the gradient changes between the two."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from rnn_diag.diagnostics.gradient_norms import hidden_grad_norms
from rnn_diag.diagnostics.numerics.precision import in_double
from rnn_diag.diagnostics.numerics.reading_order import in_reading_order
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class GradientSpan(NamedTuple):
    """The first and the last step of every sequence that have a gradient.

    Attributes:
        first_step: The first such step, counted in the order of reading; -1 where no step has a gradient.
        last_step: The last such step, counted likewise.
        first_norm: The norm at the first such step; NaN where no step has a gradient.
        last_norm: The norm at the last such step.
    """

    first_step: Int[Tensor, " batch"]
    last_step: Int[Tensor, " batch"]
    first_norm: Float[Tensor, " batch"]
    last_norm: Float[Tensor, " batch"]

    @property
    def log10_first_to_last(self) -> Float[Tensor, " batch"]:
        """Logarithm, to the base 10, of the first norm over the last; NaN where no step has a gradient."""
        return self.first_norm.log10() - self.last_norm.log10()


def gradient_span(trace: Trace, norms: Float[Tensor, "time batch"] | None = None) -> GradientSpan:
    """Return from which step to which every sequence has a gradient, and the norms at both.

    A loss may leave out the last steps (a target that ends early, a discarded tail), and a gradient may be cut, or
    underflow to exact zeros, before it reaches the first: a ratio of the very first to the very last step is then 0,
    infinite or undefined. A step has a gradient unless its norm is exactly zero; a norm that is not finite counts.

    Args:
        trace: What was recorded.
        norms: Norms of this trace; `hidden_grad_norms` by default.

    Raises:
        RuntimeError: If the trace holds no gradients, and no norms are given.
        ValueError: If the norms are not of this trace's shape.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> span = gradient_span(linear_trace(0.1, steps=4))
        >>> span.first_step.item(), span.last_step.item(), round(span.log10_first_to_last.item(), 9)
        (0, 3, -3.0)
    """
    norms = hidden_grad_norms(trace) if norms is None else in_double(norms)
    mask = trace.mask_with(norms)
    if norms.shape != mask.shape:
        raise ValueError(f"norms of shape {tuple(norms.shape)}; expected {tuple(mask.shape)}, as the trace's mask")
    norms = in_reading_order(trace, norms)
    present = mask & (norms != 0)
    found = present.any(0)
    steps = torch.arange(len(norms), device=norms.device).unsqueeze(1)
    first = torch.where(present, steps, len(norms) - 1).amin(0)
    last = torch.where(present, steps, 0).amax(0)
    first_norm, last_norm = (
        torch.where(found, norms.gather(0, step.unsqueeze(0)).squeeze(0), math.nan) for step in (first, last)
    )
    return GradientSpan(torch.where(found, first, -1), torch.where(found, last, -1), first_norm, last_norm)
