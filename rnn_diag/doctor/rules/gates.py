"""Units past their slope: stuck gates, layers without any slope, dead ReLUs, saturated tanhs; and latches, at work."""

from __future__ import annotations

from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.rules.remedies import identity, initialised, module_of
from rnn_diag.doctor.signs import evidence
from rnn_diag.doctor.vitals import Vitals

MANY = 0.5
"""Share of a gate's units."""

OFTEN = 0.3
"""Share of steps at which a gate is beyond its thresholds."""

NEARLY_ALWAYS = 0.8
"""Share of steps at which *every* gate of a layer is where its slope is below 0.001. A latch holds one gate there, a
memory for thousands of steps another; that none ever leaves its ends has to do with the scale of what it is fed."""

MANY_DEAD = 0.3
"""Share of ReLU units; fewer are a smaller network that still learns."""

MOSTLY = 0.8
"""Share of steps at which a plain recurrence's tanh units are saturated; their slope is then below 0.19."""

LARGE_INPUTS = 5.0
"""A root mean square above this is none that was scaled to about 1."""

DRIVING = 1.5
"""A spectral radius above which units drive each other to their ends; below it, inputs do."""


SCALE = "inputs = (inputs - inputs.mean((0, 1))) / (inputs.std((0, 1)) + 1e-6)"
"""Every feature by itself."""


def stuck_gate(vitals: Vitals) -> Finding | None:
    """Find a gate most of whose units are at the same extreme at every step, where that stops the layer's work."""
    found = [(share, state) for state in vitals.harmful if (share := _fixed(vitals, state)) >= MANY]
    if not found:
        return None
    share, state = max(found)
    gate, extreme = state.split("/")
    return Finding(
        id="stuck_gate",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning=f"{share:.0%} of the {gate} gate's units are {extreme} at every step: "
        f"{vitals.harmful[state]}, and they get almost no gradient that could change it.",
        remedy=f"set the {gate} gate's biases back to 0, look for inputs that are not scaled to about 1, "
        "and lower the learning rate.",
        call=f"{module_of(vitals)}.reset_parameters()",
        option="optimizer.lr=1e-3",
        evidence=(
            Evidence(f"share of units {'below 0.001' if extreme == 'shut' else 'above 0.999'}", share),
            evidence(vitals, f"stuck_{extreme}", gate),
        ),
        confidence=0.9,
    )


def saturated_gates(vitals: Vitals) -> Finding | None:
    """Find a layer all of whose gates are at one end or the other at nearly every step, whether or not they switch."""
    if not _has_no_slope(vitals):
        return None
    unscaled = vitals.input_scale > LARGE_INPUTS
    least = min(vitals.flat, key=lambda gate: vitals.flat[gate])
    return Finding(
        id="saturated_gates",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning=f"Every gate is fully shut or fully open at {vitals.flat[least]:.0%} of all steps or more: "
        "there they let no gradient through, and nothing is learned.",
        remedy="scale the inputs to about 1."
        if unscaled
        else "the learning rate was too high: lower it and start again.",
        call=SCALE if unscaled else f"{module_of(vitals)}.reset_parameters()",
        option="" if unscaled else "optimizer.lr=1e-3",
        evidence=(
            *(
                Evidence(f"share of steps with the {gate} gate below 0.001 or above 0.999", share)
                for gate, share in vitals.flat.items()
            ),
            Evidence("root mean square of the inputs", vitals.input_scale),
        ),
        confidence=0.9,
    )


def latching(vitals: Vitals) -> Finding | None:
    """Say of a gate that is saturated at many steps and switches between its extremes that this is healthy."""
    gates = [gate for gate, share in vitals.switching.items() if share >= MANY]
    often = [gate for gate in gates if vitals.shut[gate] > OFTEN and vitals.open[gate] > OFTEN]
    if not often or _has_no_slope(vitals):
        return None
    gate = often[0]
    return Finding(
        id="latching",
        severity=Severity.INFO,
        layer=vitals.layer,
        meaning=f"The {gate} gate switches between fully shut and fully open: it works as a switch, which is healthy.",
        evidence=(
            Evidence("share of units that switch", vitals.switching[gate]),
            evidence(vitals, "shut", gate),
            evidence(vitals, "open", gate),
        ),
        confidence=0.9,
    )


def dead_relu(vitals: Vitals) -> Finding | None:
    """Find ReLU units that are silent at every step of every sequence."""
    if not vitals.relu_dead >= MANY_DEAD:
        return None
    call, option = identity(vitals)
    start = "start from the identity with zero biases" if vitals.has_matrix else "start with larger biases"
    return Finding(
        id="dead_relu",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning=f"{vitals.relu_dead:.0%} of the units are silent at every step: no gradient passes them.",
        remedy=f"{start}, and lower the learning rate.",
        call=call,
        option=f"{option} optimizer.lr=1e-3".strip(),
        evidence=(Evidence("share of units that never fire", vitals.relu_dead),),
        confidence=0.8,
    )


def saturated_tanh(vitals: Vitals) -> Finding | None:
    """Find a plain recurrence whose tanh units are saturated at nearly all steps."""
    share = vitals.tanh_saturated.get("hidden", 0.0)
    if not share >= MOSTLY:
        return None
    own_doing = vitals.spectral_radius > DRIVING
    return Finding(
        id="saturated_tanh",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning=f"Its tanh units are saturated at {share:.0%} of all steps: no gradient passes them.",
        remedy="scale the recurrent matrix to a spectral radius of 1." if own_doing else "scale the inputs to about 1.",
        call=initialised(vitals, "rescale_spectral_radius", "radius=1.0") if own_doing else SCALE,
        option="initialization=[spectral_radius]" if own_doing else "",
        evidence=(evidence(vitals, "tanh_saturated", "hidden"),),
        confidence=0.9,
    )


def _fixed(vitals: Vitals, state: str) -> float:
    gate, extreme = state.split("/")
    return (vitals.fixed_shut if extreme == "shut" else vitals.fixed_open).get(gate, 0.0)


def _has_no_slope(vitals: Vitals) -> bool:
    return bool(vitals.flat) and min(vitals.flat.values()) >= NEARLY_ALWAYS
