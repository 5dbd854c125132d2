"""Float16 underflow: gradients that are lost to rounding before they reach the layer, and look as if they vanished."""

from __future__ import annotations

from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.vitals import Vitals

MANY = 0.3
"""Share of the numbers that enter the layer's backward pass."""


def float16_underflow(vitals: Vitals) -> Finding | None:
    """Find gradients so small that float16 lost them: none arrived, or the weights got others than they should have.

    With bfloat16, whose range is float32's, numbers as small pass their check.
    """
    if not vitals.reduced_precision or not vitals.has_gradients:
        return None
    all_lost = vitals.direct_share == 0 and vitals.exact_zero == 1
    if not all_lost and not (vitals.is_unfaithful and vitals.below_float16 >= MANY):
        return None
    scaled = "with a loss scale that is too small" if vitals.amp_scaled else "and no gradient scaler is at work"
    share = 1.0 if all_lost else vitals.below_float16
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
            Evidence("share of exact zeros", vitals.exact_zero, f"gradient_norms/{vitals.layer}/exact_zero"),
            Evidence(
                "relative error of weight_hh's gradient", vitals.fidelity, f"gradient_norms/{vitals.layer}/fidelity"
            ),
        ),
        confidence=0.6 if all_lost else 0.9,
    )
