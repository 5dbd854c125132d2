"""How fast neighbouring states of a layer part or meet, per step, along the inputs it was given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnn_diag.arguments import whole
from rnn_diag.diagnostics.numerics.tangent import Tangent
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float


def lyapunov_exponents(trace: Trace, k: int = 1, warmup: int = 0) -> Float[Tensor, "batch exponent"]:
    r"""Return the `k` largest finite-time Lyapunov exponents of the full state, driven by the inputs.

    .. math:: \lambda_j = \frac{1}{n} \sum_t \ln |R_{t,jj}|, \qquad
        Q_t R_t = \frac{\partial s_t}{\partial s_{t-1}} Q_{t-1}

    The full state is `h`, or `(h, c)`: without the memory an LSTM looks forgetful that is not. Steps are taken in the
    order of reading. Positive: states part and gradients explode along some direction; negative: they meet, and
    gradients vanish; zero: distances stay as they are. The first directions are random, always the same ones; `warmup`
    steps let them turn to where the recurrence takes them.

    Args:
        trace: What was recorded; no gradients are needed.
        k: The number of exponents.
        warmup: Steps at the start of every sequence that are carried but not counted.

    Returns:
        Nats per step, for each sequence; NaN for one with no step beyond `warmup`, minus infinity along directions that
        the recurrence wipes out. Their mean over sequences is `.mean(0)`.

    Raises:
        ValueError: If `k` is not between 1 and the length of the full state, or `warmup` is negative.
        RuntimeError: If the recurrence's adjoint is not on the autograd graph.

    Example:
        >>> import math
        >>> from rnn_diag.testing.known import linear_trace
        >>> exponents = lyapunov_exponents(linear_trace([[2.0, 0.0], [0.0, 0.5]], steps=60), k=2, warmup=40)
        >>> [round(math.exp(exponent), 6) for exponent in exponents[0].tolist()]
        [2.0, 0.5]

    Reference:
        Benettin et al. 1980, https://doi.org/10.1007/BF02128236; Engelken, Wolf, Abbott 2023,
        https://doi.org/10.1103/PhysRevResearch.5.043044; Vogt et al. 2022, https://arxiv.org/abs/2006.14123
    """
    return exponents_along(Tangent.of(trace), k, warmup)


def exponents_along(
    tangent: Tangent, k: int = 1, warmup: int = 0, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "batch exponent"]:
    """Return what `lyapunov_exponents` does, along any tangent, in its `dtype`; differentiable where the tangent is.

    Raises:
        ValueError: If `k` is not between 1 and the length of the full state, or `warmup` is negative.
    """
    k, warmup = whole("k", k), whole("warmup", warmup, at_least=0)
    if not 1 <= k <= tangent.state_size:
        raise ValueError(f"k={k}; expected 1 to {tangent.state_size}, the length of the full state")
    batch = tangent.mask.shape[1]
    frame = _random_frame(batch, tangent.state_size, k).to(tangent.mask.device, dtype)
    total = frame.new_zeros(batch, k)
    for t in range(tangent.steps):
        moved = tangent.forward(t, frame.permute(2, 0, 1)).permute(1, 2, 0)
        frame, growth = torch.linalg.qr(moved)
        if t >= warmup:
            logs = growth.diagonal(dim1=-2, dim2=-1).abs().log()
            total = total + torch.where(tangent.mask[t].unsqueeze(-1), logs, 0.0)
    counted = (tangent.mask.sum(0) - warmup).clamp(min=0).to(total)
    return total / counted.unsqueeze(-1)


def kaplan_yorke_dimension(exponents: Float[Tensor, "*batch exponent"]) -> Float[Tensor, "*batch"]:
    r"""Return the dimension of the attractor that a Lyapunov spectrum implies.

    .. math:: D = j + \frac{\lambda_1 + \dots + \lambda_j}{|\lambda_{j+1}|}, \qquad
        j = \max \{ i : \lambda_1 + \dots + \lambda_i \ge 0 \}

    Returns:
        0 for a stable fixed point. The number of exponents where their sum is not negative: a lower bound when they are
        too few. NaN where an exponent is NaN.

    Example:
        >>> kaplan_yorke_dimension(torch.tensor([0.5, 0.0, -1.0])).item()
        2.5

    Reference:
        Frederickson, Kaplan, Yorke, Yorke 1983, https://doi.org/10.1016/0022-0396(83)90011-6
    """
    falling = exponents.sort(dim=-1, descending=True).values
    sums = falling.cumsum(-1)
    whole = (sums >= 0).sum(-1, keepdim=True)
    sum_of_whole = sums.gather(-1, (whole - 1).clamp(min=0))
    following = falling.gather(-1, whole.clamp(max=falling.shape[-1] - 1)).abs()
    partial = (whole > 0) & (whole < falling.shape[-1])
    dimension = whole + torch.where(partial, sum_of_whole / following, 0.0)
    return torch.where(exponents.isnan().any(-1), float("nan"), dimension.squeeze(-1))


def _random_frame(batch: int, size: int, k: int) -> Tensor:
    """Return the same random orthonormal columns for every sequence, without moving the process's generator."""
    generator = torch.Generator().manual_seed(0)
    columns = torch.randn(size, k, generator=generator, dtype=torch.float64)
    frame: Tensor = torch.linalg.qr(columns).Q
    return frame.expand(batch, size, k)
