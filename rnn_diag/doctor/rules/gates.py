"""Saturated gates: stuck ones, layers without any slope, and latches, which are at work."""

from __future__ import annotations

from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.rules.remedies import module_of
from rnn_diag.doctor.vitals import Vitals

MANY = 0.5
"""Share of a gate's units."""

OFTEN = 0.3
"""Share of steps at which a gate is beyond its thresholds."""

NEARLY_ALWAYS = 0.8
"""Share of steps at which *every* gate of a layer is where its slope is below 0.001. A latch holds one gate there, a
memory for thousands of steps another; that none ever leaves its ends has to do with the scale of what it is fed."""

HARMFUL = {
    ("input", "shut"): "nothing is written into the memory",
    ("forget", "shut"): "the memory is wiped at every step",
    ("output", "shut"): "nothing of the memory is shown",
    ("update", "open"): "nothing is written into the state",
    ("update", "shut"): "the state is overwritten at every step",
}
"""What it means; the other extremes (an input gate always open, a forget gate always open) are ways to work."""


def stuck_gate(vitals: Vitals) -> Finding | None:
    """Find a gate most of whose units are at the same extreme at every step, where that stops the layer's work."""
    found = [
        (share, gate, extreme)
        for (gate, extreme), _ in HARMFUL.items()
        if (share := (vitals.stuck_shut if extreme == "shut" else vitals.stuck_open).get(gate, 0.0)) >= MANY
    ]
    if not found:
        return None
    share, gate, extreme = max(found)
    return Finding(
        id="stuck_gate",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning=f"{share:.0%} of the {gate} gate's units are {extreme} at every step: {HARMFUL[gate, extreme]}, and "
        "their slope is too small to change it.",
        remedy=f"set the {gate} gate's biases back to 0, look for inputs that are not scaled to about 1, "
        "and lower the learning rate.",
        call=f"{module_of(vitals)}.reset_parameters()",
        option="optimizer.lr=1e-3",
        evidence=(
            Evidence(f"share of units stuck {extreme}", share, f"saturation/{vitals.layer}/{gate}/stuck_{extreme}"),
        ),
        confidence=0.9,
    )


def saturated_gates(vitals: Vitals) -> Finding | None:
    """Find a layer all of whose gates are at one end or the other at nearly every step, whether or not they switch."""
    if not _has_no_slope(vitals):
        return None
    least = min(vitals.flat, key=lambda gate: vitals.flat[gate])
    return Finding(
        id="saturated_gates",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning=f"Every gate is fully shut or fully open at {vitals.flat[least]:.0%} of all steps or more: "
        "they have no slope, and nothing can be learned through them.",
        remedy="scale the inputs to about 1; if they are, the learning rate was too high: lower it and start again.",
        call=f"{module_of(vitals)}.reset_parameters()",
        option="optimizer.lr=1e-3",
        evidence=tuple(
            Evidence(f"share of steps with the {gate} gate below 0.001 or above 0.999", share)
            for gate, share in vitals.flat.items()
        ),
        confidence=0.9,
    )


def _has_no_slope(vitals: Vitals) -> bool:
    return bool(vitals.flat) and min(vitals.flat.values()) >= NEARLY_ALWAYS


def latching(vitals: Vitals) -> Finding | None:
    """Say of a gate that is saturated at many steps and switches between its extremes that this is healthy."""
    gates = [gate for gate, share in vitals.switching.items() if share >= MANY]
    often = [gate for gate in gates if vitals.shut[gate] > OFTEN and vitals.open[gate] > OFTEN]
    if not often or _has_no_slope(vitals):
        return None
    gate, tag = often[0], f"saturation/{vitals.layer}/{often[0]}"
    return Finding(
        id="latching",
        severity=Severity.INFO,
        layer=vitals.layer,
        meaning=f"The {gate} gate is saturated and switches between shut and open: a latch at work, which is healthy.",
        remedy="nothing.",
        evidence=(
            Evidence("share of units that switch", vitals.switching[gate]),
            Evidence("share of steps shut", vitals.shut[gate], f"{tag}/left"),
            Evidence("share of steps open", vitals.open[gate], f"{tag}/right"),
        ),
        confidence=0.9,
    )
