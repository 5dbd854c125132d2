"""Whether a layer's numbers mean anything: it ran, its numbers are finite, and they pass their own check."""

from __future__ import annotations

from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.rules.remedies import module_of
from rnn_diag.doctor.vitals import Vitals

REGISTER = "rnn_diag.register(TheCell, read=..., equations=...)  # docs/projects.md shows three"


def non_finite(vitals: Vitals) -> Finding | None:
    """Find the first number that is NaN or infinite."""
    if not vitals.non_finite:
        return None
    searching = vitals.amp_scaled and "_grad" in vitals.non_finite
    if searching:
        meaning = (
            f"Gradients overflow while the scaler looks for a scale; the step is skipped (first: {vitals.non_finite})."
        )
        remedy = "nothing, unless it goes on for more than a few dozen steps."
    else:
        meaning = f"The first number that is not finite is here: {vitals.non_finite}."
        remedy = "look at the inputs of that step, lower the learning rate, and clip gradients."
    return Finding(
        id="non_finite",
        severity=Severity.INFO if searching else Severity.CRITICAL,
        layer=vitals.layer,
        meaning=meaning,
        remedy=remedy,
        call="" if searching else "Trainer(gradient_clip_val=1.0)",
        option="" if searching else "trainer.gradient_clip_val=1.0 optimizer.lr=1e-4",
        confidence=1.0,
    )


def no_gradient(vitals: Vitals) -> Finding | None:
    """Find a layer that ran on the graph and that the backward pass never reached."""
    if vitals.has_gradients or not (vitals.batches and vitals.on_graph):
        return None
    once = vitals.batches == 1
    when, so = ("in this batch", "it did not learn") if once else (f"in {vitals.batches} batches", "it does not learn")
    return Finding(
        id="no_gradient",
        severity=Severity.ADVICE if once else Severity.WARNING,
        layer=vitals.layer,
        meaning=f"The layer ran, and {when} the loss's gradient never came back to it: {so}.",
        remedy="look between here and the loss for detach(), no_grad, .data, argmax, or an output that nothing uses; "
        "if it is meant to stay as it is, freeze it with requires_grad_(False).",
        call=f"{module_of(vitals)}.requires_grad_(False)",
        confidence=0.5 if once else 0.9,
    )


def unfaithful(vitals: Vitals) -> Finding | None:
    """Find that the numbers do not pass their check against autograd."""
    if not vitals.is_unfaithful:
        return None
    return Finding(
        id="unfaithful",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning="What is computed here is not what the layer did, by its own gradient of weight_hh: "
        "nothing that is said of its gradients can be relied on.",
        remedy="register the class with its true equations, or record without what changes the layer from outside.",
        call="rnn_diag.register(...)",
        evidence=(Evidence("relative error", vitals.fidelity, f"gradient_norms/{vitals.layer}/fidelity"),),
        confidence=1.0,
    )


def never_ran(vitals: Vitals) -> Finding | None:
    """Find a layer that the model holds and did not call."""
    if not vitals.coverage.startswith("never ran"):
        return None
    return Finding(
        id="never_ran",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning=f"The model holds this layer and nothing was seen of it ({vitals.coverage}).",
        remedy="call it in forward, or take it out of the model.",
        confidence=0.8,
    )


def not_followed(vitals: Vitals) -> Finding | None:
    """Say of a layer that it could not be followed, and why."""
    if not vitals.coverage.startswith(("not followed", "partial")):
        return None
    may_be_registered = "rnn_diag.register" in vitals.coverage
    return Finding(
        id="not_followed",
        severity=Severity.INFO,
        layer=vitals.layer,
        meaning=f"Nothing is known of this layer ({vitals.coverage}).",
        remedy="register the class of its cells, if one is called at every step, with or without equations; a loop "
        "inside another module's forward cannot be looked into."
        if may_be_registered
        else "do what the reason says.",
        call=REGISTER if may_be_registered else "",
        confidence=1.0,
    )
