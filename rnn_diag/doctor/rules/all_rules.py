"""The rules, and the order in which equally bad findings are told: causes before their effects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from rnn_diag.doctor.finding import Finding, Severity
from rnn_diag.doctor.rules.clipping import clipping_nearly_always
from rnn_diag.doctor.rules.directions import dead_direction
from rnn_diag.doctor.rules.exploding import exploding
from rnn_diag.doctor.rules.forget_bias import forget_bias_low, forget_bias_one_of_two, forget_bias_uneven
from rnn_diag.doctor.rules.gates import latching, saturated_gates, stuck_gate
from rnn_diag.doctor.rules.padding import padding_dominates, padding_read
from rnn_diag.doctor.rules.seen import never_ran, no_gradient, non_finite, not_followed, unfaithful
from rnn_diag.doctor.rules.transient_growth import transient_growth
from rnn_diag.doctor.rules.truncation import truncation_too_short
from rnn_diag.doctor.rules.underflow import float16_underflow
from rnn_diag.doctor.rules.units import dead_relu, saturated_tanh
from rnn_diag.doctor.rules.vanishing import hidden_vanishing, vanishing
from rnn_diag.doctor.vitals import Vitals, beside_each_other

Rule = Callable[[Vitals], Finding | None]

FIRST: tuple[Rule, ...] = (non_finite, float16_underflow, unfaithful, never_ran, not_followed)
"""Where one of them speaks, the layer's other numbers mean nothing and its other rules are not asked."""

RULES: tuple[Rule, ...] = (
    no_gradient,
    dead_direction,
    padding_read,
    saturated_gates,  # before the gates that are stuck: what drives them all there drives each
    stuck_gate,
    dead_relu,
    saturated_tanh,
    exploding,
    transient_growth,
    vanishing,
    forget_bias_low,
    forget_bias_uneven,
    forget_bias_one_of_two,
    hidden_vanishing,
    truncation_too_short,
    padding_dominates,
    latching,
)

OF_THE_RUN: tuple[Rule, ...] = (clipping_nearly_always,)
"""They find the same at every layer, and are told once."""

WORDS: tuple[str, ...] = tuple(rule.__name__ for rule in (*FIRST, *RULES, *OF_THE_RUN))
"""What findings are called: each as its rule."""

EFFECTS = ("vanishing",)
CAUSES = ("dead_direction", "padding_read", "stuck_gate", "saturated_gates", "dead_relu", "saturated_tanh")
"""A cause is as bad as the effect that it has at the same layer, so that it is told first."""


def findings_of(vitals: Iterable[Vitals] | Mapping[str, Vitals]) -> tuple[Finding, ...]:
    """Return what all rules find at a network's layers: the worst first, then causes before effects, then by layer."""
    layers = list(vitals.values() if isinstance(vitals, Mapping) else vitals)
    together = beside_each_other({one.layer: one for one in layers})
    found = [(rank, finding) for one in together.values() for rank, finding in _ranked(one)]
    found += [(len(WORDS), one) for rule in OF_THE_RUN if (one := next(filter(None, map(rule, layers)), None))]
    return tuple(finding for _, finding in sorted(found, key=lambda pair: (-pair[1].severity, pair[0])))


def _ranked(vitals: Vitals) -> list[tuple[int, Finding]]:
    first = [(rank, finding) for rank, rule in enumerate(FIRST) if (finding := rule(vitals)) is not None]
    if first:
        return first[:1]
    later = enumerate(RULES, start=len(FIRST))
    found = [(rank, finding) for rank, rule in later if (finding := rule(vitals)) is not None]
    effect = max((finding.severity for _, finding in found if finding.id in EFFECTS), default=Severity.INFO)
    return [(rank, _at_least(effect, finding) if finding.id in CAUSES else finding) for rank, finding in found]


def _at_least(severity: Severity, finding: Finding) -> Finding:
    return replace(finding, severity=max(severity, finding.severity))
