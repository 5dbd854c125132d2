"""How many steps an influence lasts: its horizon and its half-life, from a profile by lag."""

from __future__ import annotations

import math
from functools import reduce
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnn_diag.arguments import number
from rnn_diag.diagnostics.numerics.precision import in_double

if TYPE_CHECKING:
    from jaxtyping import Float


def memory_horizon(profile: Float[Tensor, "lag *others"], threshold: float = 0.01) -> Float[Tensor, "*others"]:
    """Return the largest lag whose influence is at least `threshold` of the peak.

    A horizon as long as the profile was cut off by it: the true one may be longer.

    Args:
        profile: Influence by lag, along the first axis. Entries that are NaN (before the sequence) are left out.
        threshold: Share of the peak.

    Returns:
        Steps; NaN where the profile is zero, infinite or NaN throughout.

    Raises:
        ValueError: Unless `0 < threshold <= 1`.

    Example:
        >>> memory_horizon(0.5 ** torch.arange(20.0)).item()  # 2^-6 is above 1 %, 2^-7 below
        6.0
    """
    number("threshold", threshold, above=0, at_most=1)
    values = in_double(profile).nan_to_num(nan=0.0, posinf=math.inf)
    peak = values.amax(0)
    lags = torch.arange(len(values), dtype=values.dtype, device=values.device).view(-1, *[1] * (values.dim() - 1))
    reached = torch.where(values >= threshold * peak, lags, 0.0).amax(0)
    return torch.where((peak > 0) & peak.isfinite(), reached, math.nan)


def joint_horizon(
    hidden: Float[Tensor, "lag target batch"],
    cell: Float[Tensor, "lag target batch"] | None = None,
    threshold: float = 0.01,
) -> Float[Tensor, "target batch"]:
    """Return the largest lag at which `h` or `c` still has at least `threshold` of its own peak.

    An influence may travel through either: the horizon of a layer is the larger of the two.

    Args:
        hidden: Lagged norms of `h`, as `lagged_grad_norms` returns them. NaN entries are left out.
        cell: Those of `c`, as `lagged_cell_grad_norms` returns them, or None for a recurrence without a memory cell.
        threshold: Share of the peak.

    Returns:
        Steps, for each target and sequence; NaN where neither curve has a finite peak above 0.

    Raises:
        ValueError: Unless `0 < threshold <= 1`.

    Example:
        >>> hidden, cell = (rate ** torch.arange(20.0).view(-1, 1, 1) for rate in (0.2, 0.5))
        >>> joint_horizon(hidden).item(), joint_horizon(hidden, cell).item()
        (2.0, 6.0)
    """
    parts = [hidden] if cell is None else [hidden, cell]
    longer: Tensor = reduce(torch.fmax, memory_horizon(torch.stack(parts, dim=1), threshold))
    return longer


def half_life(profile: Float[Tensor, "lag *others"]) -> Float[Tensor, "*others"]:
    r"""Return after how many steps beyond its peak the influence has fallen to half of the peak.

    Between two lags the profile is taken as geometric, so that :math:`w^\tau` has the half-life
    :math:`\ln 2 / (-\ln w)` exactly.

    Args:
        profile: Influence by lag, along the first axis. Entries that are NaN (before the sequence) are left out.

    Returns:
        Steps; infinite where half of the peak is not reached within the profile, NaN where the profile is zero,
        infinite or NaN throughout.

    Example:
        >>> half_life(0.5 ** torch.arange(20.0)).item()
        1.0
    """
    values = in_double(profile).nan_to_num(nan=math.inf, posinf=math.inf)
    known = ~profile.isnan()
    peak, peak_lag = torch.where(known, values, 0.0).max(0)
    lags = torch.arange(len(values), device=values.device).view(-1, *[1] * (values.dim() - 1))
    below = (values <= peak / 2) & (lags > peak_lag) & known
    first = torch.where(below, lags, len(values)).amin(0)
    after = values.gather(0, first.clamp(max=len(values) - 1).unsqueeze(0)).squeeze(0)
    before = values.gather(0, (first - 1).clamp(min=0).unsqueeze(0)).squeeze(0)
    within = (2 * before / peak).log() / (before / after).log()  # 0 where the profile falls to zero at once
    steps = first - 1 - peak_lag + torch.where(after > 0, within, 1.0)
    steps = torch.where(below.any(0), steps, math.inf)
    return torch.where((peak > 0) & peak.isfinite(), steps, math.nan)
