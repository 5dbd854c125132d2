"""How large the loss gradient is at every step, and how it changes on its way back through time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnn_diag.diagnostics.numerics.precision import in_double
from rnn_diag.diagnostics.numerics.profile import Profile
from rnn_diag.diagnostics.numerics.reading_order import from_the_end, padding_as_nan
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float


def hidden_grad_norms(trace: Trace) -> Float[Tensor, "time batch"]:
    r"""Return the L2 norm of the loss gradient at every hidden state.

    .. math:: g_{t,b} = \lVert \partial L / \partial h_{t,b} \rVert_2

    The gradient is the total one: what reaches `h_t` through all later steps, not only through the output at `t`. In an
    LSTM it leaves out what `c_t` carries past `h_t`: read `cell_grad_norms`, too.

    Returns:
        One norm per timestep and sequence, in units of loss per unit of hidden state; NaN at padding.
        A loss averaged over the batch scales every entry by 1/batch.

    Raises:
        RuntimeError: If the trace holds no gradients (no backward pass ran while it was recorded).

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> hidden_grad_norms(linear_trace(0.5, steps=3)).flatten().tolist()  # 0.5 to the steps remaining
        [0.25, 0.5, 1.0]

    Reference:
        Pascanu, Mikolov, Bengio 2013, section 2, https://arxiv.org/abs/1211.5063
    """
    return _norms(trace, trace.hidden_grad)


def hidden_grad_norms_direct(trace: Trace) -> Float[Tensor, "time batch"]:
    """Return the norm of the part of `∂L/∂h_t` that came through what was done with `h_t` outside the layer.

    This is all that a hook on a fused module's output can see: with a loss at the last step, zero everywhere else.

    Returns:
        As `hidden_grad_norms`.

    Raises:
        RuntimeError: If the trace holds no gradients.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> hidden_grad_norms_direct(linear_trace(0.5, steps=3)).flatten().tolist()
        [0.0, 0.0, 1.0]
    """
    return _norms(trace, trace.hidden_grad_direct)


def hidden_grad_norms_recurrent(trace: Trace) -> Float[Tensor, "time batch"]:
    """Return the norm of the part of `∂L/∂h_t` that came through the next step read.

    Returns:
        As `hidden_grad_norms`. Norms do not add up: direct and recurrent parts may cancel.

    Raises:
        RuntimeError: If the trace holds no gradients.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> hidden_grad_norms_recurrent(linear_trace(0.5, steps=3)).flatten().tolist()
        [0.25, 0.5, 0.0]
    """
    return _norms(trace, trace.hidden_grad_recurrent)


def cell_grad_norms(trace: Trace) -> Float[Tensor, "time batch"]:
    r"""Return the L2 norm of the loss gradient at every memory cell, :math:`\lVert \partial L / \partial c_t \rVert_2`.

    Returns:
        As `hidden_grad_norms`, in units of loss per unit of memory.

    Raises:
        RuntimeError: If the trace holds no gradients.
        ValueError: If the recurrence has no memory cell.

    Example:
        >>> from rnn_diag.testing.known import forgetting_trace
        >>> norms = cell_grad_norms(forgetting_trace(0.5, steps=3)).flatten()
        >>> (norms / norms[-1]).tolist()  # the carousel alone: f to the steps remaining
        [0.25, 0.5, 1.0]

    Reference:
        Hochreiter, Schmidhuber 1997, section 3.2, https://doi.org/10.1162/neco.1997.9.8.1735
    """
    if trace.cell_grad is None:
        raise ValueError(
            f"{trace.layer!r} is a {trace.equations.name}, which has no memory cell; use hidden_grad_norms"
        )
    return _norms(trace, trace.cell_grad)


def gradient_profile(trace: Trace, norms: Float[Tensor, "time batch"] | None = None) -> Profile:
    """Return the mean over sequences at every step of the input, and how many sequences reached it.

    Args:
        trace: What was recorded.
        norms: Norms of this trace; `hidden_grad_norms` by default.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> profile = gradient_profile(linear_trace(0.5, steps=3, batch=2))
        >>> profile.mean.tolist(), profile.count.tolist()
        ([0.25, 0.5, 1.0], [2.0, 2.0, 2.0])
    """
    norms = _or_hidden(trace, norms)
    return Profile.of(norms, trace.mask_with(norms))


def gradient_profile_from_the_end(trace: Trace, norms: Float[Tensor, "time batch"] | None = None) -> Profile:
    """Return the mean over sequences by distance from each sequence's own last step read.

    Sequences of different lengths line up where their loss is. Step 0 of a reverse layer is the last one it read.

    Args:
        trace: What was recorded.
        norms: Norms of this trace; `hidden_grad_norms` by default.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> gradient_profile_from_the_end(linear_trace(0.5, steps=3)).mean.tolist()
        [1.0, 0.5, 0.25]
    """
    by_lag = from_the_end(trace, _or_hidden(trace, norms))
    return Profile.of(by_lag, trace.mask_with(by_lag))


def gradient_ratio_to_last(
    trace: Trace, norms: Float[Tensor, "time batch"] | None = None
) -> Float[Tensor, "time batch"]:
    """Return every norm as a ratio to that of the sequence's last valid step in the order of reading.

    The ratio does not change with the loss scale, batch size, reduction or number of ranks. For a reverse layer the
    last step read is step 0.

    Args:
        trace: What was recorded.
        norms: Norms of this trace; `hidden_grad_norms` by default.

    Returns:
        Ratios, 1 at the last step read, NaN at padding; infinite or NaN for a sequence whose last step has no gradient.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> gradient_ratio_to_last(linear_trace(2.0, steps=3)).flatten().tolist()
        [4.0, 2.0, 1.0]
    """
    norms = _or_hidden(trace, norms)
    return norms / from_the_end(trace, norms)[0]


def log_gradient_slope(trace: Trace, norms: Float[Tensor, "time batch"] | None = None) -> Float[Tensor, " batch"]:
    r"""Return how fast the gradient grows per step that it travels back, by least squares on its logarithm.

    .. math:: \log g \approx a + s \cdot (\text{steps before the last one read})

    Negative: it vanishes on its way back; positive: it explodes. Exact zeros (underflow, dead units) and non-finite
    norms have no logarithm and are left out. A loss at every step flattens the slope although nothing travels far: use
    `lagged_grad_norms` there.

    Args:
        trace: What was recorded.
        norms: Norms of this trace; `hidden_grad_norms` by default.

    Returns:
        Nats per step and sequence; NaN where fewer than two steps have a logarithm.

    Example:
        >>> import math
        >>> from rnn_diag.testing.known import linear_trace
        >>> math.exp(log_gradient_slope(linear_trace(0.5, steps=9)).item())
        0.5
    """
    by_lag = from_the_end(trace, _or_hidden(trace, norms))
    usable = trace.mask_with(by_lag) & by_lag.isfinite() & (by_lag > 0)
    lags = torch.arange(len(by_lag), dtype=by_lag.dtype, device=by_lag.device).unsqueeze(1)
    logs = torch.where(usable, by_lag, 1.0).log()
    count = usable.sum(0)
    lags = torch.where(usable, lags - (usable * lags).sum(0) / count, 0.0)
    logs = torch.where(usable, logs - logs.sum(0) / count, 0.0)
    return (lags * logs).sum(0) / lags.square().sum(0)


def _norms(trace: Trace, vectors: Float[Tensor, "time batch units"]) -> Float[Tensor, "time batch"]:
    return padding_as_nan(trace, torch.linalg.vector_norm(in_double(vectors).flatten(2), dim=-1))


def _or_hidden(trace: Trace, norms: Tensor | None) -> Tensor:
    if norms is None:
        return hidden_grad_norms(trace)
    if norms.shape != trace.mask.shape:
        raise ValueError(
            f"norms have shape {tuple(norms.shape)}; expected {tuple(trace.mask.shape)}, as the trace's mask"
        )
    return in_double(norms)
