"""What a layer's weights alone say: the bias of the gate that remembers, and a plain recurrence's matrix."""

from __future__ import annotations

import math
from typing import Any

from rnn_diag.diagnostics import recurrent_spectrum
from rnn_diag.trace import Trace

EXACT_UP_TO = 256
"""Units up to which the matrix is decomposed whole; a few milliseconds."""


def weight_vitals(trace: Trace) -> dict[str, Any]:
    """Return the fields of `Vitals` that need neither states nor gradients.

    Spectra are of plain recurrences only: a gated cell is not judged by its recurrent matrices.
    """
    return _forget_bias(trace) | ({} if trace.equations.gates else _spectrum(trace))


def _forget_bias(trace: Trace) -> dict[str, Any]:
    names = [block.name for block in trace.equations.gates]
    gate = next((name for name in ("forget", "update") if name in names), None)
    weights = trace.weights
    if gate is None or weights.bias_ih is None or weights.bias_hh is None:
        return {}
    ih, hh = (trace.equations.by_block(bias, dim=0)[gate].double() for bias in (weights.bias_ih, weights.bias_hh))
    parts = {"ih": float(ih.mean()), "hh": float(hh.mean())}
    parts |= {"ih_spread": float(ih.std(correction=0)), "hh_spread": float(hh.std(correction=0))}
    return {"forget_bias": parts["ih"] + parts["hh"], "forget_bias_parts": parts}


def _spectrum(trace: Trace) -> dict[str, Any]:
    (matrix,) = trace.recurrent_weights.values()
    spectrum = recurrent_spectrum(matrix, exact_up_to=EXACT_UP_TO)
    radius = spectrum.spectral_radius
    return {
        "spectral_radius": radius,
        "spectral_norm": spectrum.spectral_norm,
        "transient_growth": spectrum.transient_growth if math.isfinite(spectrum.transient_growth) else math.nan,
        "predicted_horizon": _steps_to_one_percent(radius),
    }


def _steps_to_one_percent(radius: float) -> float:
    if math.isnan(radius):
        return math.nan
    return math.inf if radius >= 1 else math.log(0.01) / math.log(radius) if radius > 0 else 0.0
