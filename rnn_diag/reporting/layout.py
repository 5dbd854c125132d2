"""Charts for TensorBoard's Custom Scalars tab: what belongs together on one pair of axes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Layout = dict[str, dict[str, list[Any]]]

LAYOUT_TAG = b"custom_scalars__config__"
"""What TensorBoard looks for; the last layout of a run wins."""

OVER_LAYERS = {
    "gradient: first step over last": r"gradient_norms/{layer}/(cell_)?log10_first_to_last",
    "gradient: largest norm": r"gradient_norms/{layer}/(cell_)?log10_max",
    "memory horizon": r"memory_horizon/{layer}/(steps|half_life)",
    "spectral radius": r"spectrum/{layer}/.*/spectral_radius",
    "largest singular value": r"spectrum/{layer}/.*/sigma_max",
    "gates shut": r"saturation/{layer}/.*/left",
    "gates open": r"saturation/{layer}/.*/right",
    "tanh saturated": r"saturation/{layer}/.*/tanh_saturated",
}


def custom_scalars_layout(layers: Sequence[str]) -> Layout:
    r"""Return one category per layer for `SummaryWriter.add_custom_scalars`; merge it with your own, if you have one.

    Example:
        >>> layout = custom_scalars_layout(["encoder.l0"])
        >>> layout["rnn_diag: encoder.l0"]["memory horizon"]
        ['Multiline', ['^memory_horizon/encoder\\.l0/(steps|half_life)$']]
    """
    return {
        f"rnn_diag: {layer}": {
            title: ["Multiline", [f"^{pattern.replace('{layer}', re.escape(layer))}$"]]
            for title, pattern in OVER_LAYERS.items()
        }
        for layer in layers
    }


def write_layout(writer: Any, layers: Sequence[str]) -> bool:
    """Write the layout unless the run has one or it cannot be known; return whether it was written."""
    folder = Path(str(getattr(writer, "log_dir", None) or getattr(writer, "logdir", "")))
    if not layers or not folder.is_dir():
        return False
    writer.flush()
    if any(LAYOUT_TAG in file.read_bytes() for file in folder.glob("*tfevents*")):
        return False
    writer.add_custom_scalars(custom_scalars_layout(layers))
    return True
