"""Units past their slope: ReLU units that never fire, tanh units that are always at their end."""

from __future__ import annotations

from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.rules.remedies import initialised
from rnn_diag.doctor.vitals import Vitals

MANY_DEAD = 0.3
"""Share of ReLU units; fewer are a smaller network that still learns."""

MOSTLY = 0.8
"""Share of steps at which a plain recurrence's tanh units are saturated; their slope is then below 0.19."""

LARGE = 1.5
"""A spectral radius above which units drive each other to their ends; below it, inputs do."""


def dead_relu(vitals: Vitals) -> Finding | None:
    """Find ReLU units that are silent at every step of every sequence."""
    if not vitals.relu_dead >= MANY_DEAD:
        return None
    return Finding(
        id="dead_relu",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning=f"{vitals.relu_dead:.0%} of the units are silent at every step: no gradient passes them.",
        remedy="start from the identity with zero biases, and lower the learning rate.",
        call=initialised(vitals, "identity"),
        option="initialization=[identity] optimizer.lr=1e-3",
        evidence=(Evidence("share of units that never fire", vitals.relu_dead),),
        confidence=0.8,
    )


def saturated_tanh(vitals: Vitals) -> Finding | None:
    """Find a plain recurrence whose tanh units are saturated at nearly all steps."""
    share = vitals.tanh_saturated.get("hidden", 0.0)
    if not share >= MOSTLY:
        return None
    own_doing = vitals.spectral_radius > LARGE
    return Finding(
        id="saturated_tanh",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning=f"Its tanh units are saturated at {share:.0%} of all steps: no gradient passes them.",
        remedy="scale the recurrent matrix to a spectral radius of 1." if own_doing else "scale the inputs to about 1.",
        call=initialised(vitals, "rescale_spectral_radius", "radius=1.0")
        if own_doing
        else "inputs = (inputs - inputs.mean()) / inputs.std()",
        option="initialization=[spectral_radius]" if own_doing else "",
        evidence=(Evidence("share of steps above 0.9", share, f"saturation/{vitals.layer}/hidden/tanh_saturated"),),
        confidence=0.9,
    )
