"""Exploding: what a loss says grows on its way back."""

from __future__ import annotations

from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.rules.remedies import initialised
from rnn_diag.doctor.vitals import Vitals

LARGE = 100.0
"""Growth of a single loss on its way back: early steps then shout down the rest of the weight gradient."""

HOPELESS = 1e4
"""From here on one step of any useful learning rate throws the weights away, clipped or not its direction is noise."""


def exploding(vitals: Vitals) -> Finding | None:
    """Find a single loss whose gradient has grown a hundredfold at some step before it."""
    if not vitals.influence_peak >= LARGE:
        return None
    call, option = "", "initialization=[orthogonal]"
    if vitals.kind == "rnn" and vitals.spectral_radius > 1:
        remedy = "scale the recurrent matrix down, and clip gradients (Trainer(gradient_clip_val=1.0))."
        call = initialised(vitals, "rescale_spectral_radius", "radius=1.0")
        option = "initialization=[spectral_radius] trainer.gradient_clip_val=1.0"
    else:
        remedy = "make the recurrent matrices orthogonal, and clip gradients (Trainer(gradient_clip_val=1.0))."
        call, option = initialised(vitals, "orthogonal_per_gate"), f"{option} trainer.gradient_clip_val=1.0"
    return Finding(
        id="exploding",
        severity=Severity.CRITICAL if vitals.influence_peak >= HOPELESS else Severity.WARNING,
        layer=vitals.layer,
        meaning=f"The gradient of a single loss grows {vitals.influence_peak:.2g} times on its way back through time.",
        remedy=remedy,
        call=call,
        option=option,
        evidence=(
            Evidence("largest influence over that at lag 0", vitals.influence_peak),
            Evidence("log growth per step back", vitals.slope, f"gradient_norms/{vitals.layer}/slope_nats_per_step"),
        ),
        confidence=0.95,
    )
