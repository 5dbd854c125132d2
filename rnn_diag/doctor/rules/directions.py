"""Directions: one half of a bidirectional layer that the loss does not use."""

from __future__ import annotations

from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.rules.remedies import module_of
from rnn_diag.doctor.vitals import Vitals

BARELY = 0.25
"""Share of a sequence that a direction has read when its output is last used."""

WELL = 0.75
"""The same for the direction that is used."""

FAINT = 1e-3
"""Gradient that enters through a direction over that of the other."""


def dead_direction(vitals: Vitals) -> Finding | None:
    """Find a direction whose output is used before it has read the sequence, or not at all."""
    other = vitals.other_direction
    if not other or not vitals.has_gradients or not other["read_share"] >= WELL:
        return None
    faint = vitals.direct_norm < FAINT * other["direct_norm"]
    if not (vitals.read_share < BARELY or faint):
        return None
    reverse = vitals.layer.endswith("_reverse")
    step, end = ("0", "last") if reverse else ("-1", "first")
    used = "not used" if faint else f"used after it has read {vitals.read_share:.0%} of the sequence"
    return Finding(
        id="dead_direction",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning=f"This direction's output is {used}: half of the layer's parameters do nothing for the task.",
        remedy=f"read it where it has seen everything: output[:, {step}] of its half, not the {end} step's, or h_n.",
        call=f"_, state = {module_of(vitals)}(inputs); torch.cat((state[-2], state[-1]), -1)",
        evidence=(
            Evidence("share of the sequence it has read", vitals.read_share),
            Evidence("the other direction", other["read_share"]),
            Evidence("gradient that enters", vitals.direct_norm),
            Evidence("in the other direction", other["direct_norm"]),
        ),
        confidence=0.9,
    )
