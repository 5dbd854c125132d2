"""Truncation: sequences are cut into chunks that are shorter than what the layer's gradients could reach."""

from __future__ import annotations

from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.vitals import Vitals

LEFT = 0.1
"""Share of a single loss's influence that is left at the furthest step of its chunk: cut, not faded."""


def truncation_too_short(vitals: Vitals) -> Finding | None:
    """Find chunks known to go on from a carried state, at whose start a loss still has a tenth of its influence."""
    if not (vitals.carried_state and vitals.furthest >= 1 and vitals.influence_at_furthest >= LEFT):
        return None
    longer = 2 * vitals.steps
    return Finding(
        id="truncation_too_short",
        severity=Severity.ADVICE,
        layer=vitals.layer,
        meaning=f"Chunks of {vitals.steps} steps go on from a carried state, and a loss still has "
        f"{vitals.influence_at_furthest:.0%} of its influence where the gradient is cut.",
        remedy=f"backpropagate through longer chunks, say {longer} steps.",
        option=f"task.sequence_length={longer}",
        evidence=(
            Evidence("influence left at the start", vitals.influence_at_furthest),
            Evidence("horizon in steps", vitals.horizon, f"memory_horizon/{vitals.layer}/steps"),
        ),
        confidence=0.8,
    )
