"""Transient growth: eigenvalues say that a state decays, and before it does it grows."""

from __future__ import annotations

from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.rules.remedies import orthogonal
from rnn_diag.doctor.vitals import Vitals

LARGE = 10.0
"""Growth before decay; a random matrix just below radius 1 stays at about 3."""


def transient_growth(vitals: Vitals) -> Finding | None:
    """Find a plain recurrence whose spectral radius is below 1 and whose powers grow tenfold all the same."""
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
