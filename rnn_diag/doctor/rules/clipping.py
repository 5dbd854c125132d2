"""Clipping that acts at nearly every step: it is then a learning rate of its own."""

from __future__ import annotations

from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.vitals import Vitals

NEARLY_ALWAYS = 0.9
"""Share of optimiser steps; clipping is meant for the exceptions."""

STRONG = 0.5
"""A factor below this: at least half of every gradient is cut away."""


def clipping_nearly_always(vitals: Vitals) -> Finding | None:
    """Find that nearly every step is clipped to half of its length or less."""
    if not (vitals.clip_share >= NEARLY_ALWAYS and vitals.clip_factor < STRONG):
        return None
    return Finding(
        id="clipping_nearly_always",
        severity=Severity.ADVICE,
        layer=vitals.layer,
        meaning=f"Gradients were clipped at {vitals.clip_share:.0%} of {vitals.clip_steps} optimiser steps, to "
        f"{vitals.clip_factor:.2g} of their length: the step size no longer follows the loss.",
        remedy="raise gradient_clip_val to about the usual norm, and lower the learning rate instead.",
        call="Trainer(gradient_clip_val=...)",
        option=f"trainer.gradient_clip_val={1 / max(vitals.clip_factor, 1e-6):.1g}",
        evidence=(
            Evidence("share of steps clipped", vitals.clip_share),
            Evidence("median factor", vitals.clip_factor),
        ),
        confidence=vitals.clip_steps / (vitals.clip_steps + 1),
    )
