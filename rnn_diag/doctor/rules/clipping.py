"""Clipping that acts at nearly every step: it is then a learning rate of its own."""

from __future__ import annotations

from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.vitals import Vitals

NEARLY_ALWAYS = 0.9
"""Share of optimiser steps; clipping is meant for the exceptions."""

STRONG = 0.5
"""A factor below this: at least half of every gradient is cut away."""


FEWEST_STEPS = 10
"""Optimiser steps that must have been seen before it can be said how often gradients are clipped."""

RUN = "the run"
"""Where it is found: all parameters are clipped together."""


def clipping_nearly_always(vitals: Vitals) -> Finding | None:
    """Find that nearly every step is clipped to half of its length or less; of a few steps, say it for information."""
    if not (vitals.clip_share >= NEARLY_ALWAYS and vitals.clip_factor < STRONG):
        return None
    usual = vitals.clip_value / max(vitals.clip_factor, 1e-6)
    known = vitals.clip_steps >= FEWEST_STEPS
    return Finding(
        id="clipping_nearly_always",
        severity=Severity.ADVICE if known else Severity.INFO,
        layer=RUN,
        meaning=f"Gradients were clipped at {vitals.clip_share:.0%} of {vitals.clip_steps} optimiser steps, to "
        f"{vitals.clip_factor:.2g} of their length: the step size no longer follows the loss."
        if known
        else f"This batch's gradient would be clipped to {vitals.clip_factor:.2g} of its length. At the start that is "
        "common; if it goes on, the step size no longer follows the loss.",
        remedy="raise gradient_clip_val to about the usual norm, and lower the learning rate instead."
        if known
        else "look at how often it happens while training.",
        call=f"Trainer(gradient_clip_val={usual:.1g})" if known else "",
        option=f"trainer.gradient_clip_val={usual:.1g}" if known else "",
        evidence=(
            Evidence("share of steps clipped", vitals.clip_share),
            Evidence("median factor", vitals.clip_factor),
            Evidence("usual norm", usual),
        ),
        confidence=vitals.clip_steps / (vitals.clip_steps + 1),
    )
