"""Vanishing: what a loss says does not arrive at the steps long before it, seen or hidden under a dense loss."""

from __future__ import annotations

from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.rules.remedies import chrono, identity
from rnn_diag.doctor.vitals import Vitals

FEWEST_STEPS = 8
"""Shorter sequences have no long dependencies to lose."""

SHORT = 0.5
"""A horizon below this share of what could be seen: half of the sequence is out of reach of a loss at its end."""

SHORT_UNDER_DENSE = 0.25
"""With a loss at most steps a horizon of this share of the sequence; less is asked where near losses teach as well."""

VISIBLE = -2.0
"""log10 of first over last: below it the total gradient itself shows the fall, whatever the loss is."""

LOST_TO_ROUNDING = -7.0
"""log10 of first over last: below it the first steps change no digit of a float32 sum over all steps."""


def vanishing(vitals: Vitals) -> Finding | None:
    """Find a horizon much shorter than the sequence, where the total gradient falls or only late steps have a loss."""
    if not _reaches_less_than(SHORT, vitals):
        return None
    if vitals.is_dense and not vitals.log10_first_to_last < VISIBLE:
        return None
    lost = vitals.log10_first_to_last < LOST_TO_ROUNDING
    call, option = _longer_memory(vitals)
    return Finding(
        id="vanishing",
        severity=Severity.CRITICAL if lost else Severity.WARNING,
        layer=vitals.layer,
        meaning=f"A loss reaches {vitals.horizon:.0f} steps back and sequences have {vitals.steps}: "
        "what happened earlier cannot be learned from it.",
        remedy=_remedy(vitals),
        call=call,
        option=option,
        evidence=(*_reach(vitals), _first_to_last(vitals), *_predicted(vitals)),
        confidence=0.95 if lost else 0.8,
    )


def hidden_vanishing(vitals: Vitals) -> Finding | None:
    """Find a short horizon under a total gradient that looks flat because there is a loss at most steps."""
    falls = vitals.log10_first_to_last < VISIBLE
    if not vitals.is_dense or falls or not _reaches_less_than(SHORT_UNDER_DENSE, vitals):
        return None
    call, option = _longer_memory(vitals)
    return Finding(
        id="hidden_vanishing",
        severity=Severity.INFO,  # no number says whether the task needs more
        layer=vitals.layer,
        meaning="The gradient looks even because there is a loss at most steps, "
        f"but that of a single step reaches only {vitals.horizon:.0f} steps back.",
        remedy="If the task needs a longer memory: " + _remedy(vitals),
        call=call,
        option=option,
        evidence=(*_reach(vitals), _first_to_last(vitals), Evidence("share of steps with a loss", vitals.direct_share)),
        confidence=0.6,
    )


def _reaches_less_than(share: float, vitals: Vitals) -> bool:
    return vitals.furthest >= FEWEST_STEPS and vitals.horizon_share < share


def _remedy(vitals: Vitals) -> str:
    if vitals.kind == "rnn":
        return (
            "start from the identity and zero biases, or floss the gradients before training "
            "(rnn_diag.interventions.flossing.gradient_flossing), or take a gated cell (LSTM, GRU)."
        )
    return "start with gates that remember as long as the sequences are."


def _longer_memory(vitals: Vitals) -> tuple[str, str]:
    return identity(vitals) if vitals.kind == "rnn" else chrono(vitals)


def _reach(vitals: Vitals) -> tuple[Evidence, ...]:
    tags = [f"memory_horizon/{vitals.layer}/{name}" for name in ("steps", "share")]
    if _has_cell(vitals):  # the tags are those of h alone
        tags = ["", ""]
    return (
        Evidence("horizon in steps" + (" through h or c" if _has_cell(vitals) else ""), vitals.horizon, tags[0]),
        Evidence("share of what could be seen", vitals.horizon_share, tags[1]),
    )


def _first_to_last(vitals: Vitals) -> Evidence:
    tag = f"gradient_norms/{vitals.layer}/{'cell_' if _has_cell(vitals) else ''}log10_first_to_last"
    return Evidence("log10 of first over last gradient", vitals.log10_first_to_last, tag)


def _has_cell(vitals: Vitals) -> bool:
    return vitals.kind not in ("rnn", "gru")


def _predicted(vitals: Vitals) -> tuple[Evidence, ...]:
    expected = vitals.predicted_horizon
    return (Evidence("horizon that weights and gates let expect", expected),) if expected == expected else ()
