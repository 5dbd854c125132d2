"""How large gradients are: what grows on its way back, for good or for a while, what is clipped, what float16 loses."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, Decimal

from rnn_diag.doctor.finding import Evidence, Finding, Severity, number
from rnn_diag.doctor.rules.remedies import initialised, is_clipped, orthogonal
from rnn_diag.doctor.signs import evidence
from rnn_diag.doctor.vitals import Vitals
from rnn_diag.engine.precision import MANY_LOST

LARGE = 100.0
"""Growth of a single loss on its way back: early steps then drown the rest of the weight gradient."""

HOPELESS = 1e4
"""From here on one step of any useful learning rate throws the weights away, clipped or not its direction is noise."""

TRANSIENT = 10.0
"""Growth before decay; a random matrix just below radius 1 stays at about 3."""

DECAYED = 0.1
"""Share of its peak to which the influence has fallen at the furthest lag: it does not grow for ever."""

NEARLY_ALWAYS = 0.9
"""Share of optimiser steps; clipping is meant for the exceptions."""

STRONG = 0.5
"""A factor below this: at least half of every gradient is cut away."""

FEWEST_STEPS = 10
"""Optimiser steps that must have been seen before it can be said how often gradients are clipped."""

ANOTHER = 0.3
"""A difference that rounding makes to a gradient from which its direction is another one."""

SEEN = 0.05
"""A difference that rounding makes to a gradient from which it is told."""

RUN = "the run"
"""The layer of findings that concern all parameters together."""


USUAL = 1e-3
"""What clipping leaves of a gradient, below which the gradient is ill, and not the limit."""


def exploding(vitals: Vitals) -> Finding | None:
    """Find a single loss whose gradient has grown a hundredfold at some step before it."""
    if not vitals.kind or vitals.state_changed:
        return _of_totals(vitals)
    if not vitals.influence_peak >= LARGE:
        return None
    call, option = orthogonal(vitals)
    what = "make the recurrent matrices orthogonal"
    if not vitals.has_matrix:
        what = "start with smaller recurrent weights"
    elif not vitals.is_gated and vitals.spectral_radius > 1:
        what = "scale the recurrent matrix down"
        call = initialised(vitals, "rescale_spectral_radius", "radius=1.0")
        option = "initialization=[spectral_radius]"
    return Finding(
        id="exploding",
        severity=Severity.CRITICAL if vitals.influence_peak >= HOPELESS else Severity.WARNING,
        layer=vitals.layer,
        meaning=f"The gradient of a single loss grows {number(vitals.influence_peak)} times on its way back through "
        "time.",
        remedy=f"{what}." if is_clipped(vitals) else f"{what}, and clip gradients (Trainer(gradient_clip_val=1.0)).",
        call=call,
        option=option if is_clipped(vitals) else f"{option} trainer.gradient_clip_val=1.0".strip(),
        evidence=(
            evidence(vitals, "influence_peak"),
            evidence(vitals, "slope"),
        ),
        confidence=0.95,
    )


def _of_totals(vitals: Vitals) -> Finding | None:
    """Judge a cell without known equations by its total gradient, which many losses let grow by their number."""
    growth = vitals.log10_first_to_last - math.log10(max(vitals.steps, 1))
    if not growth >= math.log10(LARGE):
        return None
    return Finding(
        id="exploding",
        severity=Severity.CRITICAL if growth >= math.log10(HOPELESS) else Severity.WARNING,
        layer=vitals.layer,
        meaning=f"The gradient at step {vitals.first_step:.0f} is {number(10**vitals.log10_first_to_last)} times that "
        f"at step {vitals.last_step:.0f}.",
        remedy="start from smaller, or orthogonal, recurrent weights"
        + ("." if is_clipped(vitals) else ", and clip gradients."),
        call="" if is_clipped(vitals) else "Trainer(gradient_clip_val=1.0)",
        option="" if is_clipped(vitals) else "trainer.gradient_clip_val=1.0",
        evidence=(evidence(vitals, "log10_first_to_last"),),
        confidence=0.8,
    )


def transient_growth(vitals: Vitals) -> Finding | None:
    """Find a recurrence that decays in the end and grows tenfold before: by its matrix, or by its gradients."""
    if vitals.is_gated:
        return _of_gradients(vitals)
    if not (vitals.spectral_radius < 1 and vitals.transient_growth > TRANSIENT):
        return None
    call, option = orthogonal(vitals)
    return Finding(
        id="transient_growth",
        severity=Severity.WARNING if vitals.influence_peak > TRANSIENT else Severity.ADVICE,
        layer=vitals.layer,
        meaning=f"In the end all decays, but before that a state can grow {number(vitals.transient_growth)} times: "
        "all eigenvalues are below 1, and the recurrent matrix stretches some directions strongly.",
        remedy="start from an orthogonal recurrent matrix.",
        call=call,
        option=option,
        evidence=(
            evidence(vitals, "spectral_radius", vitals.matrix),
            Evidence("largest norm of a power", vitals.transient_growth),
            evidence(vitals, "spectral_norm", vitals.matrix),
            evidence(vitals, "influence_peak"),
        ),
        confidence=0.9,
    )


def _of_gradients(vitals: Vitals) -> Finding | None:
    """Judge a gated cell by what the products of its Jacobians along the data did to the gradients of single losses.

    The largest singular value of these products would bound the growth along every direction; it takes dozens of sweeps
    and says less: fresh gated cells reach it along directions that no loss has.
    """
    peak, left = vitals.influence_peak, vitals.influence_at_furthest
    if not (peak > TRANSIENT and left < DECAYED * peak):
        return None
    call, option = orthogonal(vitals)
    return Finding(
        id="transient_growth",
        severity=Severity.ADVICE,
        layer=vitals.layer,
        meaning=f"The gradient of a single loss first grows {number(peak)} times on its way back, and has faded "
        f"{vitals.furthest:.0f} steps before the loss: for a while some directions are stretched strongly.",
        remedy=f"start from {'orthogonal recurrent matrices' if vitals.has_matrix else 'smaller recurrent weights'}.",
        call=call,
        option=option,
        evidence=(
            evidence(vitals, "influence_peak"),
            Evidence("influence left at the furthest lag", left),
        ),
        confidence=0.7,
    )


def clipping_nearly_always(vitals: Vitals) -> Finding | None:
    """Find that nearly every step is clipped to half of its length or less; of a few steps, say it for information."""
    if not (vitals.clip_share >= NEARLY_ALWAYS and vitals.clip_factor < STRONG):
        return None
    usual = vitals.clip_value / vitals.clip_factor if vitals.clip_factor > 0 else math.inf
    enough = _rounded_up(usual) if vitals.clip_factor >= USUAL else ""
    known = vitals.clip_steps >= FEWEST_STEPS
    factor = number(vitals.clip_factor)
    return Finding(
        id="clipping_nearly_always",
        severity=Severity.ADVICE if known else Severity.INFO,
        layer=RUN,
        meaning=f"Gradients were clipped at {vitals.clip_share:.0%} of {vitals.clip_steps} optimiser steps, to "
        f"{factor} of their length: the step size no longer follows the loss."
        if known
        else f"This batch's gradient would be clipped to {factor} of its length. At the start that is "
        "common; if it stays so, the step size no longer follows the loss.",
        remedy="look at how often it happens while training."
        if not known
        else "raise gradient_clip_val to about the usual norm, and lower the learning rate instead."
        if enough
        else "look for what makes gradients so large: no limit makes up for it.",
        call=f"Trainer(gradient_clip_val={enough})" if known and enough else "",
        option=f"trainer.gradient_clip_val={enough}" if known and enough else "",
        evidence=(
            Evidence("share of steps clipped", vitals.clip_share),
            Evidence("median factor", vitals.clip_factor),
            Evidence("usual norm", usual),
        ),
        confidence=vitals.clip_steps / (vitals.clip_steps + 1),
    )


def float16_underflow(vitals: Vitals) -> Finding | None:
    """Find gradients so small that float16 lost them: none arrived, or the weights got others than they should have.

    With bfloat16, whose range is float32's, numbers as small pass their check.
    """
    if not vitals.reduced_precision or not vitals.has_gradients:
        return None
    all_lost = vitals.direct_share == 0 and vitals.exact_zero == 1
    is_rounded = vitals.rounding >= SEEN
    if not all_lost and not ((vitals.is_unfaithful or is_rounded) and vitals.below_float16 >= MANY_LOST):
        return None
    scaled = "with a loss scale that is too small" if vitals.amp_scaled else "and no gradient scaler is at work"
    share = 1.0 if all_lost else vitals.below_float16
    zeros = (evidence(vitals, "exact_zero"),) if all_lost else ()
    return Finding(
        id="float16_underflow",
        severity=Severity.CRITICAL if all_lost else Severity.WARNING,
        layer=vitals.layer,
        meaning=f"Gradients are computed in float16 {scaled}: {share:.0%} of the numbers that should reach the layer "
        "are below 6e-5 and lose digits or become 0. This is not vanishing through time.",
        remedy="train in bfloat16, or with Lightning's 16-mixed, which scales the loss.",
        call='Trainer(precision="bf16-mixed")',
        option="trainer.precision=bf16-mixed",
        evidence=(
            Evidence("share of numbers below 6e-5", share),
            *zeros,
            Evidence("relative error of weight_hh's gradient", vitals.rounding if is_rounded else vitals.fidelity),
        ),
        confidence=0.6 if all_lost else 0.9,
    )


def rounding(vitals: Vitals) -> Finding | None:
    """Find that the training's gradient is another one by how its kernel rounds, which the network amplifies."""
    if not vitals.rounding >= SEEN:
        return None
    is_tf32 = vitals.precision == "TF32"
    return Finding(
        id="rounding",
        severity=Severity.WARNING if vitals.rounding >= ANOTHER else Severity.INFO,
        layer=vitals.layer,
        meaning=f"{vitals.precision} changes this layer's gradient by {vitals.rounding:.0%}: small errors grow on "
        "their way through time. The equations are right, and what is shown is the gradient without that rounding.",
        remedy="forbid TF32 to recurrent kernels, or make the recurrence expand less."
        if is_tf32
        else "train in float32, or make the recurrence expand less.",
        call="torch.backends.cudnn.allow_tf32 = False" if is_tf32 else 'Trainer(precision="32-true")',
        option="" if is_tf32 else "trainer.precision=32-true",
        evidence=(evidence(vitals, "rounding"),),
        confidence=1.0,
    )


def _rounded_up(value: float) -> str:
    """Return a number that is not below the value, with one digit, without an exponent.

    Example:
        >>> _rounded_up(9.2), _rounded_up(0.0312), _rounded_up(2.0)
        ('10', '0.04', '2')
    """
    exact = Decimal(value)
    digit = exact.quantize(Decimal(1).scaleb(exact.adjusted()), ROUND_CEILING)
    return f"{digit:f}"
