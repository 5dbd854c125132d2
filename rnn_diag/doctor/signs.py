"""What every vital sign is called, where it is logged, and which way is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from rnn_diag.doctor.finding import Evidence
from rnn_diag.doctor.vitals import Vitals
from rnn_diag.measurements.layer import STATISTICS


class Sign(NamedTuple):
    """One of the vital signs.

    Attributes:
        words: What it is called.
        column: Its heading in the table of layers; empty for none.
        meaning: What the legend says of it.
        best: Where it is best: `large`, `small`, at `zero` or at `one`; empty where it is not better or worse.
        is_compared: Whether a comparison of reports tells how it changed.
    """

    words: str
    column: str = ""
    meaning: str = ""
    best: Literal["large", "small", "zero", "one", ""] = ""
    is_compared: bool = True


SIGNS: Mapping[str, Sign] = {
    "steps": Sign("steps of the longest sequence", "steps", "of the longest sequence", is_compared=False),
    "horizon": Sign(
        "horizon in steps", "horizon", "how many steps back a single loss keeps 1 % of its influence", best="large"
    ),
    "predicted_horizon": Sign(
        "horizon predicted from weights and gates",
        "predicted",
        "the horizon that is predicted from weights and gates alone, in steps",
        is_compared=False,
    ),
    "horizon_share": Sign("share of what could be seen", is_compared=False),
    "log10_first_to_last": Sign(
        "log10 of first over last gradient",
        "first/last",
        "log10 of the gradient at the first step over the last",
        best="zero",
    ),
    "cell_log10_first_to_last": Sign("log10 of first over last gradient", is_compared=False),
    "slope": Sign("log growth per step back", best="zero"),
    "rounding": Sign("difference that rounding makes", best="small"),
    "influence_peak": Sign("largest influence over that at lag 0", best="one"),
    "exact_zero": Sign("share of exact zeros", best="small"),
    "relu_dead": Sign("share of dead units", best="small"),
    "transient_growth": Sign("transient growth", best="small"),
    "padding_read": Sign("share of padding read", best="small"),
    "forget_bias": Sign("forget bias", "bias", "of the gate that remembers"),
    "longest_memory": Sign("longest time constant", "memory", "of the slowest unit, in steps"),
    "spectral_radius": Sign("spectral radius", "radius", "spectral radius of the recurrent matrix"),
    "spectral_norm": Sign("largest singular value", is_compared=False),
    "shut": Sign("share of steps shut", is_compared=False),
    "open": Sign("share of steps open", is_compared=False),
    "stuck_shut": Sign("share of units stuck shut", is_compared=False),
    "stuck_open": Sign("share of units stuck open", is_compared=False),
    "tanh_saturated": Sign("share of steps above 0.9", is_compared=False),
}
"""By field of `Vitals`, in the order in which tables and comparisons show them."""


def tag_of(field: str, layer: str, part: str = "") -> str:
    """Return the tag under which callbacks log a vital sign; empty for what they do not log.

    Args:
        field: Of `Vitals`.
        layer: Its name.
        part: The gate or block, of numbers that a layer has several of.

    Example:
        >>> tag_of("horizon", "encoder.l0"), tag_of("shut", "l0", "forget"), tag_of("longest_memory", "l0")
        ('memory_horizon/encoder.l0/steps', 'saturation/l0/forget/left', '')
    """
    for diagnostic, statistics in STATISTICS.items():
        for one in statistics:
            if one.vital == field:
                return f"{diagnostic}/{layer}/{one.named(part)}"
    return ""


def evidence(vitals: Vitals, field: str, part: str = "") -> Evidence:
    """Return a vital sign as evidence, with the tag under which it is logged.

    Example:
        >>> evidence(Vitals("l0", stuck_shut={"input": 1.0}), "stuck_shut", "input")
        Evidence(name='share of units stuck shut', value=1.0, tag='saturation/l0/input/stuck_shut')
    """
    value = getattr(vitals, field)
    number = value[part] if isinstance(value, Mapping) else value
    return Evidence(SIGNS[field].words, number, tag_of(field, vitals.layer, part))
