"""What the numbers say, as Markdown for TensorBoard's Text tab: somebody's findings, or the headlines of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from rnn_diag.reporting.tensorboard import as_it_is

SIGNS = {"ok": "✓", "info": "i", "advice": "i", "warning": "!", "critical": "✕"}
"""The signs of the tab's cards, which every font has."""
VANISHES, FADES, GROWS, EXPLODES = -4.0, -2.0, 1.5, 3.0
"""Logarithms of the gradient at the first step read over that at the last: the bounds of the tab's cards."""
HARMFUL = ("input/stuck_shut", "forget/stuck_shut", "output/stuck_shut", "update/stuck_shut")
FEW, HALF = 0.1, 0.5
SHORT_SHARE = 0.25


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


def headlines(numbers: Mapping[str, float]) -> list[Statement]:
    """Return what the latest scalars of a run say of every layer, worst first.

    Args:
        numbers: By tag, `<diagnostic>/<layer>/<statistic>`, as the callbacks log them.

    Example:
        >>> for one in headlines({"gradient_norms/l0/log10_first_to_last": -9.0, "gradient_norms/l0/non_finite": 0.0}):
        ...     print(one.severity, one.title)
        critical The gradient vanishes on its way back.
    """
    by_layer: dict[str, dict[str, float]] = {}
    for tag, value in numbers.items():
        diagnostic, _, rest = tag.partition("/")
        layer, _, statistic = rest.partition("/")
        if statistic:
            by_layer.setdefault(layer, {})[f"{diagnostic}/{statistic}"] = value
    found = [one for layer, known in by_layer.items() for one in _of_layer(layer, known)]
    order = list(SIGNS)
    return sorted(found, key=lambda one: -order.index(one.severity))


def _of_layer(layer: str, known: Mapping[str, float]) -> Iterator[Statement]:
    if "gradient_norms/non_finite" in known:
        yield Statement(*_gradient(known, layer))
    if math.isfinite(steps := known.get("memory_horizon/steps", math.nan)):
        share = known.get("memory_horizon/share", math.nan)
        level = "warning" if share < SHORT_SHARE else "ok"
        seen = f"`memory_horizon/{layer}/share` {share:.2g} of what could be seen"
        yield Statement(level, layer, f"The loss of a single step reaches {steps:g} steps back.", seen)
    stuck = {name: known[f"saturation/{name}"] for name in HARMFUL if f"saturation/{name}" in known}
    if stuck:
        worst = max(stuck, key=lambda name: stuck[name])
        level = "critical" if stuck[worst] > HALF else "warning" if stuck[worst] > FEW else "ok"
        words = "Gates work." if level == "ok" else "Gates are stuck."
        yield Statement(level, layer, words, f"`saturation/{layer}/{worst}` {stuck[worst]:.2g} of the units")


def _gradient(known: Mapping[str, float], layer: str) -> tuple[str, str, str, str]:
    broken = known["gradient_norms/non_finite"]
    if broken:
        numbers = f"`gradient_norms/{layer}/non_finite` {broken:.2g} of steps and sequences"
        return "critical", layer, "The gradient is infinite or not a number.", numbers
    # An LSTM's gradient travels through its cell where it does not through the hidden state.
    ways = ("log10_first_to_last", "cell_log10_first_to_last")
    logs = {way: known[f"gradient_norms/{way}"] for way in ways if f"gradient_norms/{way}" in known}
    logs = {way: value for way, value in logs.items() if not math.isnan(value)}
    if not logs:
        return "info", layer, "The last step read has no gradient to compare with.", ""
    way = max(logs, key=lambda name: logs[name])
    level, words = _judged(logs[way])
    numbers = f"`gradient_norms/{layer}/{way}` {logs[way]:.3g}: at the first step read 10^{logs[way]:.1f} of the last"
    return level, layer, f"The gradient {words}", numbers


def _judged(log10_ratio: float) -> tuple[str, str]:
    if log10_ratio <= VANISHES:
        return "critical", "vanishes on its way back."
    if log10_ratio <= FADES:
        return "warning", "fades on its way back."
    if log10_ratio >= EXPLODES:
        return "critical", "explodes on its way back."
    if log10_ratio >= GROWS:
        return "warning", "grows on its way back."
    return "ok", "reaches the first step."
