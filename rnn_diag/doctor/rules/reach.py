"""How far back a loss reaches: what vanishes on the way, seen or hidden under a dense loss, and what is cut."""

from __future__ import annotations

import math

from rnn_diag.doctor.finding import Evidence, Finding, Severity, number
from rnn_diag.doctor.rules.remedies import longer_memory
from rnn_diag.doctor.signs import evidence
from rnn_diag.doctor.vitals import Vitals

FEWEST_STEPS = 8
"""Shorter sequences have no long dependencies to lose."""

SHORT = 0.5
"""A horizon below this share of what could be seen: half of it is out of reach of a loss."""

VISIBLE = -2.0
"""log10 of first over last: below it the total gradient itself shows the fall, whatever the loss is."""

LOST_TO_ROUNDING = -7.0
"""log10 of first over last: below it the first steps change no digit of a float32 sum over all steps."""

LEFT = 0.1
"""Share of a single loss's influence that is left at the furthest step of its chunk: cut, not faded."""


SHORT_WHERE_SEEN = 0.85
"""The same where the total gradient falls although most steps have a loss: targets are then spread over the sequence
and see half of it, so that this, too, is a horizon of half the sequence."""


def vanishing(vitals: Vitals) -> Finding | None:
    """Find a horizon much shorter than the sequence, where the total gradient falls or only late steps have a loss."""
    if not vitals.kind or vitals.state_changed or math.isnan(vitals.horizon):
        return _of_totals(vitals)
    falls = vitals.log10_first_to_last < VISIBLE
    if not _reaches_too_little(vitals, SHORT_WHERE_SEEN if vitals.is_dense and falls else SHORT):
        return None
    if vitals.is_dense and not falls:
        return None
    lost = vitals.log10_first_to_last < LOST_TO_ROUNDING
    remedy, call, option = longer_memory(vitals)
    return Finding(
        id="vanishing",
        severity=Severity.CRITICAL if lost else Severity.WARNING,
        layer=vitals.layer,
        meaning=f"A loss reaches {vitals.horizon:.0f} steps back and sequences have {vitals.steps}: "
        f"what happened earlier cannot be learned from it.{_other_direction(vitals)}",
        remedy=remedy,
        call=call,
        option=option,
        evidence=(evidence(vitals, "horizon"), _first_to_last(vitals)),
        confidence=0.95 if lost else 0.8,
    )


def hidden_vanishing(vitals: Vitals) -> Finding | None:
    """Find a short horizon under a total gradient that looks flat because there is a loss at most steps."""
    if not vitals.is_dense or vitals.log10_first_to_last < VISIBLE or not _reaches_too_little(vitals, SHORT):
        return None
    remedy, call, option = longer_memory(vitals)
    return Finding(
        id="hidden_vanishing",
        severity=Severity.INFO,  # no number says whether the task needs more
        layer=vitals.layer,
        meaning="The gradient looks even because this layer's output is used at most steps, by a loss or by a layer "
        f"above; what a single step sends back reaches only {vitals.horizon:.0f} of {vitals.steps} steps."
        + _other_direction(vitals),
        remedy="if the task needs a longer memory, " + remedy,
        call=call,
        option=option,
        evidence=(evidence(vitals, "horizon"), _first_to_last(vitals)),
        confidence=0.6,
    )


def truncation_too_short(vitals: Vitals) -> Finding | None:
    """Find chunks known to continue a carried state, at whose start a loss still has a tenth of its influence."""
    if not (vitals.carried_state and vitals.furthest >= 1 and vitals.influence_at_furthest >= LEFT):
        return None
    longer = 2 * vitals.steps
    return Finding(
        id="truncation_too_short",
        severity=Severity.ADVICE,
        layer=vitals.layer,
        meaning=f"Chunks of {vitals.steps} steps continue from a carried state, and a loss still has "
        f"{vitals.influence_at_furthest:.0%} of its influence where the gradient is cut.",
        remedy=f"backpropagate through longer chunks, say {longer} steps.",
        option=f"task.sequence_length={longer}",
        evidence=(
            Evidence("influence left at the start", vitals.influence_at_furthest),
            evidence(vitals, "horizon"),
        ),
        confidence=0.8,
    )


def _of_totals(vitals: Vitals) -> Finding | None:
    """Judge by the total gradient where single losses cannot be followed: without equations, or through the state."""
    fall = vitals.log10_first_to_last
    if not (vitals.steps >= FEWEST_STEPS and fall < VISIBLE):
        return None
    lost = fall < LOST_TO_ROUNDING
    return Finding(
        id="vanishing",
        severity=Severity.CRITICAL if lost else Severity.WARNING,
        layer=vitals.layer,
        meaning=f"The gradient at step {vitals.first_step:.0f} is {number(10**fall)} times that at step "
        f"{vitals.last_step:.0f}: what happened early cannot be learned.",
        remedy="start with gates, or recurrent weights, that remember as long as the sequences are.",
        evidence=(_first_to_last(vitals),),
        confidence=0.9 if lost else 0.7,
    )


def _reaches_too_little(vitals: Vitals, share: float) -> bool:
    return vitals.steps > FEWEST_STEPS and vitals.horizon_share < share


def _other_direction(vitals: Vitals) -> str:
    return " The layer's other direction reads from the other end, and may see it." if vitals.other_direction else ""


def _first_to_last(vitals: Vitals) -> Evidence:
    of_cell = vitals.cell_log10_first_to_last == vitals.log10_first_to_last
    return evidence(vitals, "cell_log10_first_to_last" if of_cell else "log10_first_to_last")
