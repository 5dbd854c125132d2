"""What one layer's gradients come to: sums and counts over steps and sequences."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from rnn_diag.diagnostics import cell_grad_norms, hidden_grad_norms, log_gradient_slope
from rnn_diag.diagnostics.numerics.precision import in_double
from rnn_diag.diagnostics.numerics.reading_order import from_the_end, in_reading_order
from rnn_diag.trace import Trace

SMALLEST_NORMAL = 2.0**-14
"""Below it float16 keeps ever fewer digits, and below 2^-25 none."""

ROUNDING = 1e-5
"""Share of the total gradient below which a direct part is put down to rounding."""


@dataclass(frozen=True)
class BackwardTally:
    """Sums and counts of one layer's gradients.

    Attributes:
        first, last, cell_first, cell_last: Sums of norms at each sequence's first and last step read.
        slope, sloped: Sum of the sequences' slopes, and sequences that have one.
        zeros, with_direct, valid: Steps times sequences whose gradient is zero, whose output is used, and all.
        read: Sum over sequences of the share up to the last step whose output is used.
        sequences: Their number.
        direct: Sum of the norms of direct gradients.
        entries, tiny: Numbers that entered through used outputs; those that float16 holds badly.
    """

    first: float
    last: float
    cell_first: float
    cell_last: float
    slope: float
    sloped: int
    zeros: int
    with_direct: int
    valid: int
    read: float
    sequences: int
    direct: float
    entries: int
    tiny: int

    @classmethod
    def of(cls, trace: Trace, scale: float) -> BackwardTally:
        """Return the sums of one call."""
        mask = trace.mask.to(trace.hidden_grad.device)
        norms, slopes = hidden_grad_norms(trace), log_gradient_slope(trace)
        direct_norms = torch.linalg.vector_norm(in_double(trace.hidden_grad_direct), dim=-1)
        used = (direct_norms > ROUNDING * norms.nan_to_num()) & mask
        cell = cell_grad_norms(trace) if trace.cell_grad is not None else None
        cell_ends = (0.0, 0.0) if cell is None else _ends(trace, cell)
        first, last = _ends(trace, norms)
        positions = torch.arange(1, len(used) + 1, device=used.device).unsqueeze(1)
        furthest = (in_reading_order(trace, used.unsqueeze(-1)).squeeze(-1) * positions).amax(0)
        entering = trace.hidden_grad_direct[used]
        return cls(
            first=first,
            last=last,
            cell_first=cell_ends[0],
            cell_last=cell_ends[1],
            slope=float(slopes.nansum()),
            sloped=int(slopes.isfinite().sum()),
            zeros=int(((norms == 0) & mask).sum()),
            with_direct=int(used.sum()),
            valid=int(mask.sum()),
            read=float((furthest / mask.sum(0)).sum()),
            sequences=mask.shape[1],
            direct=float(direct_norms[mask].sum()) * scale,
            entries=entering.numel(),
            tiny=int((entering.abs() < SMALLEST_NORMAL).sum()),
        )

    def __add__(self, other: BackwardTally) -> BackwardTally:
        return BackwardTally(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)})

    def numbers(self) -> dict[str, Any]:
        """Return the fields of `Vitals` by name."""
        ratios = [_log10_ratio(self.first, self.last), _log10_ratio(self.cell_first, self.cell_last)]
        known = [ratio for ratio in ratios if not math.isnan(ratio)]
        return {
            "log10_first_to_last": max(known, default=math.nan),
            "slope": self.slope / self.sloped if self.sloped else math.nan,
            "exact_zero": self.zeros / max(self.valid, 1),
            "direct_share": self.with_direct / max(self.valid, 1),
            "read_share": self.read / max(self.sequences, 1),
            "direct_norm": self.direct / max(self.valid, 1),
            "below_float16": self.tiny / self.entries if self.entries else math.nan,
        }


def _ends(trace: Trace, norms: Tensor) -> tuple[float, float]:
    return float(in_reading_order(trace, norms)[0].nansum()), float(from_the_end(trace, norms)[0].nansum())


def _log10_ratio(first: float, last: float) -> float:
    if not last > 0:
        return math.nan
    return math.log10(first / last) if first > 0 else -math.inf
