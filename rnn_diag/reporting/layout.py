"""Charts for TensorBoard's Custom Scalars tab: what belongs together on one pair of axes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnn_diag.measurements.layer import STATISTICS
from rnn_diag.measurements.statistics import Statistic

Layout = dict[str, dict[str, list[Any]]]

LAYOUT_TAG = b"custom_scalars__config__"
"""What TensorBoard looks for; the last layout of a run wins."""

Statistics = Mapping[str, Sequence[Statistic]]
"""By the first part of their tags."""


def custom_scalars_layout(layers: Sequence[str], statistics: Statistics = STATISTICS) -> Layout:
    r"""Return one category per layer for `SummaryWriter.add_custom_scalars`; merge it with your own, if you have one.

    Args:
        layers: Their names.
        statistics: What is logged of them; those that name a chart are shown.

    Example:
        >>> layout = custom_scalars_layout(["encoder.l0"])
        >>> layout["rnn_diag: encoder.l0"]["memory horizon"]
        ['Multiline', ['^memory_horizon/encoder\\.l0/(steps|half_life)$']]
    """
    return {f"rnn_diag: {layer}": _charts(layer, statistics) for layer in layers}


def write_layout(writer: Any, layers: Sequence[str], statistics: Statistics = STATISTICS) -> bool:
    """Write the layout unless the run has one or it cannot be known; return whether it was written."""
    folder = Path(str(getattr(writer, "log_dir", None) or getattr(writer, "logdir", "")))
    if not layers or not folder.is_dir():
        return False
    writer.flush()
    if any(LAYOUT_TAG in file.read_bytes() for file in folder.glob("*tfevents*")):
        return False
    writer.add_custom_scalars(custom_scalars_layout(layers, statistics))
    return True


def _charts(layer: str, statistics: Statistics) -> dict[str, list[Any]]:
    """Return the charts of one layer by title: each with a pattern for every diagnostic that it shows numbers of."""
    named: dict[str, dict[str, list[str]]] = {}
    for diagnostic, several in statistics.items():
        for one in several:
            if one.chart:
                named.setdefault(one.chart, {}).setdefault(diagnostic, []).append(one.pattern)
    return {
        title: ["Multiline", [f"^{name}/{re.escape(layer)}/{_either(patterns)}$" for name, patterns in shown.items()]]
        for title, shown in named.items()
    }


def _either(patterns: Sequence[str]) -> str:
    return patterns[0] if len(patterns) == 1 else f"({'|'.join(patterns)})"
