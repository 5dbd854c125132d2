"""The response to a kick in one word: forgets, holds, integrator, unstable."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

_GONE = 1e-9  # of the peak; below is rounding
_FLAT = 0.05  # change of the log over the second half that still counts as none
_ADDS_UP = 0.3  # an integrator's step response doubles over the second half: its log grows by 0.69
_AMPLIFIED = 10.0
_FEWEST = 8


def stability_verdicts(
    response: Float[Tensor, "lag batch"], step_response: Float[Tensor, "lag batch"]
) -> tuple[str, ...]:
    """Return one word for each sequence, from what its responses do in the second half of the steps that are seen.

    `forgets`: the kick dies out. `unstable`: it grows, or stays at more than ten times what it was at first. Otherwise
    it stays: `integrator` if a lasting input adds up, `holds` if not. `undecided`: fewer than 8 steps are seen. A
    memory much longer than what is seen looks like one that never ends.

    Args:
        response: To a kick at one step; NaN beyond the end of a sequence.
        step_response: To a change from that step on.

    Example:
        >>> lags = torch.arange(50.0).unsqueeze(1)
        >>> stability_verdicts(torch.ones(50, 1), lags + 1), stability_verdicts(1.1**lags, lags)
        (('integrator',), ('unstable',))
    """
    pairs = zip(response.double().unbind(1), step_response.double().unbind(1), strict=True)
    return tuple(_verdict(kick[: _seen(kick)], steady[: _seen(kick)]) for kick, steady in pairs)


def _seen(values: Tensor) -> int:
    """Return how many entries precede the first NaN."""
    missing = values.isnan()
    return int(missing.double().argmax()) if missing.any() else len(values)


def _verdict(kick: Tensor, steady: Tensor) -> str:
    if len(kick) < _FEWEST:
        return "undecided"
    if not kick.isfinite().all():
        return "unstable"
    peak = float(kick.max())
    if float(kick[-1]) <= _GONE * peak:
        return "forgets"
    change = _change_of_log(kick[len(kick) // 2 :])
    if change < -_FLAT:
        return "forgets"
    first = float(kick[kick > 0][0])
    if change > _FLAT or float(kick[-1]) > _AMPLIFIED * first:
        return "unstable"
    return "integrator" if _change_of_log(steady[len(steady) // 2 :]) > _ADDS_UP else "holds"


def _change_of_log(tail: Tensor) -> float:
    """Return by how much the logarithm grows along the tail, by least squares."""
    logs = tail.clamp(min=torch.finfo(tail.dtype).tiny).log()
    if not logs.isfinite().all():
        return math.inf
    lags = torch.arange(len(tail), dtype=tail.dtype, device=tail.device)
    centred = lags - lags.mean()
    return float((centred * logs).sum() / centred.square().sum()) * (len(tail) - 1)
