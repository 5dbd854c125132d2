"""How much a noisy state still tells of earlier inputs: the Fisher memory curve."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rnn_diag.diagnostics.module_trace import module_trace
from rnn_diag.diagnostics.numerics.precision import in_double
from rnn_diag.diagnostics.numerics.tangent import Tangent
from rnn_diag.engine.unroll import back_to_front
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Float


def fisher_memory_curve(
    layer: Trace | nn.Module, direction: Float[Tensor, " features"] | None = None
) -> Float[Tensor, "lag batch"]:
    r"""Return how much the last state tells of the input at each earlier step, if every step adds noise to the state.

    .. math:: J_k = (P_k v)^T C^{-1} P_k v, \qquad C = \sum_{j \ge 0} P_j P_j^T, \qquad
        P_k = \frac{\partial s_T}{\partial s_{T-k}}, \quad v = \frac{\partial s_{T-k}}{\partial x_{T-k}} d

    The Fisher information, about a small signal along :math:`d` in the input, of a full state (`h`, or `(h, c)`) to
    which every step adds independent noise of variance 1; divide by another variance. The network is linearised around
    its own states; of a linear one the curve is exact, with :math:`P_k = W^k`. For a signal that enters with length 1
    the sum over lags is 1 for every normal `W` with :math:`\rho < 1`, and at most the number of units for any other:
    only networks that are not normal remember a signal longer than its noise.

    Args:
        layer: What was recorded, no gradients needed; or a recurrent module, whose first layer is then looked at from
            rest (`module_trace` gives other layers and inputs).
        direction: Of the signal among the features, scaled to length 1; all features equally by default.

    Returns:
        Information per squared unit of input, by lag before each sequence's last step read; NaN before the first step
        and where a Jacobian is not finite. The noise, too, begins with the first step.

    Raises:
        ValueError: If the direction is not one of the input.

    Example:
        >>> from rnn_diag.testing.known import linear_trace
        >>> curve = fisher_memory_curve(linear_trace(0.5, steps=40)).flatten()
        >>> [round(value, 6) for value in curve[:3].tolist()], round(curve.sum().item(), 6)  # w^2k (1 - w^2)
        ([0.75, 0.1875, 0.046875], 1.0)

    Reference:
        Ganguli, Huh, Sompolinsky 2008, https://doi.org/10.1073/pnas.0804451105
    """
    trace = layer if isinstance(layer, Trace) else module_trace(layer)
    tangent = Tangent.of(trace)
    signal = _unit(direction, trace.inputs.shape[-1]).to(tangent.mask.device)
    size, batch = tangent.state_size, tangent.mask.shape[1]
    carried = torch.eye(size, dtype=signal.dtype, device=signal.device).unsqueeze(1).repeat(1, batch, 1)
    covariance = torch.zeros(batch, size, size, dtype=signal.dtype, device=signal.device)
    responses = []
    for t in reversed(range(tangent.steps)):
        valid = tangent.mask[t]
        noise = torch.einsum("ibk,jbk->bij", carried, carried)
        covariance = covariance + torch.where(valid.view(-1, 1, 1), noise, 0.0)
        responses.append(tangent.to_input(t, carried) @ signal)
        carried = tangent.backward(t, carried)
    curve = _information(torch.stack(responses[::-1]).movedim(1, -1), covariance)
    by_lag = back_to_front(curve.unsqueeze(-1), tangent.mask).squeeze(-1)
    return by_lag.masked_fill(~tangent.mask, math.nan)


def _information(
    responses: Float[Tensor, "time batch state"], covariance: Float[Tensor, "batch state state"]
) -> Float[Tensor, "time batch"]:
    """Return `r^T C^{-1} r` for every response."""
    known = covariance.isfinite().all(-1).all(-1)
    identity = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    factor = torch.linalg.cholesky(torch.where(known.view(-1, 1, 1), covariance, identity))
    whitened = torch.linalg.solve_triangular(factor, responses.permute(1, 2, 0), upper=False)
    return torch.where(known.unsqueeze(-1), whitened.square().sum(1), math.nan).T


def _unit(direction: Tensor | None, features: int) -> Float[Tensor, " features"]:
    direction = torch.ones(features) if direction is None else in_double(direction)
    if direction.shape != (features,) or not direction.any() or not direction.isfinite().all():
        raise ValueError(
            f"direction={direction.tolist()}; expected {features} finite numbers, one for each feature, not all zero"
        )
    unit: Tensor = in_double(direction) / in_double(direction).norm()
    return unit
