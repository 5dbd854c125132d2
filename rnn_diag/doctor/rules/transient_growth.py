"""Transient growth: eigenvalues say that a state decays, and before it does it grows."""

from __future__ import annotations

from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.rules.remedies import orthogonal
from rnn_diag.doctor.vitals import Vitals

LARGE = 10.0
"""Growth before decay; a random matrix just below radius 1 stays at about 3."""

DECAYED = 0.1
"""Share of its peak to which the influence has come down at the furthest lag: it does not grow for ever."""


def transient_growth(vitals: Vitals) -> Finding | None:
    """Find a recurrence that decays in the end and grows tenfold before: by its matrix, or by its gradients."""
    if vitals.kind != "rnn":
        return _of_gradients(vitals)
    if not (vitals.spectral_radius < 1 and vitals.transient_growth > LARGE):
        return None
    call, option = orthogonal(vitals)
    tag = f"spectrum/{vitals.layer}/hidden"
    return Finding(
        id="transient_growth",
        severity=Severity.WARNING if vitals.influence_peak > LARGE else Severity.ADVICE,
        layer=vitals.layer,
        meaning=f"All eigenvalues are inside the unit circle, yet a state can grow {vitals.transient_growth:.2g} times "
        "before it decays: the matrix is far from normal.",
        remedy="start from an orthogonal recurrent matrix.",
        call=call,
        option=option,
        evidence=(
            Evidence("spectral radius", vitals.spectral_radius, f"{tag}/spectral_radius"),
            Evidence("largest norm of a power", vitals.transient_growth, f"log10 as {tag}/log10_transient_growth"),
            Evidence("largest singular value", vitals.spectral_norm, f"{tag}/sigma_max"),
            Evidence("largest influence over that at lag 0", vitals.influence_peak),
        ),
        confidence=0.9,
    )


def _of_gradients(vitals: Vitals) -> Finding | None:
    """Judge a gated cell by what the products of its Jacobians along the data did to the gradients of single losses.

    The largest singular value of these products would bound the growth along every direction; it takes dozens of sweeps
    and says less: fresh gated cells reach it along directions that no loss has.
    """
    peak, left = vitals.influence_peak, vitals.influence_at_furthest
    if not (peak > LARGE and left < DECAYED * peak):
        return None
    call, option = orthogonal(vitals)
    return Finding(
        id="transient_growth",
        severity=Severity.ADVICE,
        layer=vitals.layer,
        meaning=f"The gradient of a single loss grows {peak:.2g} times on its way back and has decayed again "
        f"{vitals.furthest:.0f} steps before: the products of the layer's Jacobians are far from normal.",
        remedy="start from orthogonal recurrent matrices.",
        call=call,
        option=option,
        evidence=(
            Evidence("largest influence over that at lag 0", peak),
            Evidence("influence left at the furthest lag", left),
        ),
        confidence=0.7,
    )
