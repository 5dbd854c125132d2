"""The rules, vital signs in and a finding or None out, and the order in which equally bad findings are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from rnn_diag.doctor.finding import Finding, Severity
from rnn_diag.doctor.rules.forget_bias import forget_bias_low, forget_bias_one_of_two, forget_bias_uneven
from rnn_diag.doctor.rules.gates import dead_relu, latching, saturated_gates, saturated_tanh, stuck_gate
from rnn_diag.doctor.rules.reach import hidden_vanishing, truncation_too_short, vanishing
from rnn_diag.doctor.rules.scale import clipping_nearly_always, exploding, float16_underflow, rounding, transient_growth
from rnn_diag.doctor.rules.sequences import (
    dead_direction,
    detached_at_every_step,
    padding_dominates,
    padding_in_front,
    padding_read,
    silent_sequences,
    state_not_followed,
    state_not_handed_on,
)
from rnn_diag.doctor.rules.validity import (
    never_ran,
    no_gradient,
    non_finite,
    not_followed,
    not_optimized,
    unfaithful,
    zero_gradient,
)
from rnn_diag.doctor.vitals import Vitals, beside_each_other

Rule = Callable[[Vitals], Finding | None]

BLOCKING_RULES: tuple[Rule, ...] = (non_finite, float16_underflow, unfaithful, never_ran, not_followed)
"""Where one of them speaks, the layer's other numbers mean nothing and its other rules are not asked."""

WIRING_RULES: tuple[Rule, ...] = (
    no_gradient,
    not_optimized,
    state_not_handed_on,
    detached_at_every_step,
    silent_sequences,
    dead_direction,
    padding_read,
    padding_in_front,
    state_not_followed,
)
"""How a layer is used by the model around it."""

TRAINING_RULES: tuple[Rule, ...] = (
    saturated_gates,  # before the gates that are stuck: what drives them all there drives each
    stuck_gate,
    dead_relu,
    saturated_tanh,
    zero_gradient,
    exploding,
    transient_growth,
    rounding,
    vanishing,
    forget_bias_low,
    forget_bias_uneven,
    forget_bias_one_of_two,
    hidden_vanishing,
    truncation_too_short,
    padding_dominates,
    latching,
)
"""How a layer learns; they are not asked of one that is frozen, or in no optimiser."""

RULES_OF_STEPS: tuple[Rule, ...] = (
    zero_gradient,
    vanishing,
    forget_bias_low,
    hidden_vanishing,
    truncation_too_short,
)
"""They count steps; they are not asked where the axis of the steps seems to be that of the batch."""

RULES: tuple[Rule, ...] = WIRING_RULES + TRAINING_RULES

RUN_RULES: tuple[Rule, ...] = (clipping_nearly_always,)
"""They find the same at every layer, and are told once."""

RULE_IDS: tuple[str, ...] = tuple(rule.__name__ for rule in (*BLOCKING_RULES, *RULES, *RUN_RULES))
"""What findings are called: each as its rule."""

EFFECTS = ("vanishing", "zero_gradient")
CAUSES = (
    "state_not_handed_on",
    "silent_sequences",
    "dead_direction",
    "padding_read",
    "stuck_gate",
    "saturated_gates",
    "dead_relu",
    "saturated_tanh",
)
"""A cause gets at least the severity of its effect at the same layer, so that it is told first."""


def findings_of(vitals: Iterable[Vitals] | Mapping[str, Vitals]) -> tuple[Finding, ...]:
    """Return what all rules find at a network's layers: the worst first, then causes before effects, then by layer."""
    layers = list(vitals.values() if isinstance(vitals, Mapping) else vitals)
    together = beside_each_other({one.layer: one for one in layers})
    found = [(rank, finding) for one in together.values() for rank, finding in _ranked(one)]
    found += [(len(RULE_IDS), one) for rule in RUN_RULES if (one := next(filter(None, map(rule, layers)), None))]
    return tuple(finding for _, finding in sorted(found, key=lambda pair: (-pair[1].severity, pair[0])))


def _ranked(vitals: Vitals) -> list[tuple[int, Finding]]:
    blocking = [(rank, finding) for rank, rule in enumerate(BLOCKING_RULES) if (finding := rule(vitals)) is not None]
    if blocking:
        return blocking[:1]
    asked = WIRING_RULES if vitals.is_frozen or vitals.in_no_optimizer else RULES
    if vitals.seems_swapped:
        asked = tuple(rule for rule in asked if rule not in RULES_OF_STEPS)
    found = [(rank, finding) for rank, rule in enumerate(asked, len(BLOCKING_RULES)) if (finding := rule(vitals))]
    effect = max((finding.severity for _, finding in found if finding.id in EFFECTS), default=Severity.INFO)
    return [(rank, _at_least(effect, finding) if finding.id in CAUSES else finding) for rank, finding in found]


def _at_least(severity: Severity, finding: Finding) -> Finding:
    return replace(finding, severity=max(severity, finding.severity))
