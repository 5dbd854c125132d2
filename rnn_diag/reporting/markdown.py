"""Findings as Markdown, for TensorBoard's Text tab."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rnn_diag.reporting.tensorboard import as_it_is

SIGNS = {"ok": "✓", "info": "i", "advice": "i", "warning": "!", "critical": "✕"}
"""The signs of the tab's cards, which every font has."""


class Statement(NamedTuple):
    """One thing that is said.

    Attributes:
        severity: `ok`, `info`, `advice`, `warning` or `critical`.
        layer: Of what.
        title: In a sentence.
        numbers: What it rests on; or empty.
        advice: What to try first; or empty.
    """

    severity: str
    layer: str
    title: str
    numbers: str = ""
    advice: str = ""


def as_markdown(statements: Sequence[Statement], nothing: str = "Nothing was found.") -> str:
    """Return statements as Markdown, layer by layer: TensorBoard squeezes the columns of a table."""
    if not statements:
        return f"{SIGNS['ok']} {nothing}"
    lines = []
    for layer in dict.fromkeys(one.layer for one in statements):
        lines.append(f"### {as_it_is(layer)}")
        for one in statements:
            if one.layer == layer:
                lines.append(f"{SIGNS[one.severity]} **{one.severity}: {as_it_is(one.title)}**")
                words = (one.numbers, one.advice and f"Try: {one.advice}")
                lines.append("\n".join(f"- {word}" for word in map(as_it_is, words) if word))
    return "\n\n".join(line for line in lines if line)
