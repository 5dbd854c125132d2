"""Whether a layer's numbers mean anything, and whether it learns: it ran, its numbers hold, its gradient is used."""

from __future__ import annotations

from rnn_diag.coverage import Status
from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.rules.remedies import is_clipped, module_of
from rnn_diag.doctor.signs import evidence
from rnn_diag.doctor.vitals import Vitals

SEVERAL = 3
"""Measured batches in a row."""


def non_finite(vitals: Vitals) -> Finding | None:
    """Find the first number that is NaN or infinite."""
    first = vitals.non_finite
    if first is None:
        return None
    if vitals.amp_scaled and first.is_gradient:
        return Finding(
            id="non_finite",
            severity=Severity.INFO,
            layer=vitals.layer,
            meaning=f"Gradients overflow while the scaler looks for a scale; it skips the step (first: {first.where}).",
            remedy="look again if it lasts for more than a few dozen steps.",
            confidence=1.0,
        )
    clip = not is_clipped(vitals) and not first.where.startswith("input ")
    return Finding(
        id="non_finite",
        severity=Severity.CRITICAL,
        layer=vitals.layer,
        meaning=f"The first number that is not finite is here: {first.where}.",
        remedy=_against_non_finite(first.where, clip=clip),
        call="Trainer(gradient_clip_val=1.0)" if clip else "",
        option="trainer.gradient_clip_val=1.0 optimizer.lr=1e-4" if clip else "optimizer.lr=1e-4",
        confidence=1.0,
    )


def _against_non_finite(where: str, clip: bool) -> str:
    """Return what to do about a number that is not finite, by where the first one is."""
    if where.startswith("input "):
        return "look at the data, and at what comes before this layer: what it is fed holds it already."
    lower = "lower the learning rate, and clip gradients." if clip else "lower the learning rate."
    if where.startswith(("weight", "bias")):
        return f"it was never given a value (torch.empty), or an earlier update made it so: {lower}"
    return f"look at the inputs of that step; {lower}"


def unfaithful(vitals: Vitals) -> Finding | None:
    """Find that the numbers do not pass their check against autograd."""
    if not vitals.is_unfaithful:
        return None
    return Finding(
        id="unfaithful",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning="The numbers do not fit what this layer did: the gradient of weight_hh that follows from them is not "
        "the one that training got. Nothing said about its gradients can be relied on.",
        remedy="register the class with its true equations, or record without what changes the layer from outside.",
        call="rnn_diag.register(...)",
        evidence=(Evidence("relative error", vitals.fidelity),),
        confidence=1.0,
    )


def never_ran(vitals: Vitals) -> Finding | None:
    """Find a layer that the model holds and did not call, once that cannot be a matter of turns."""
    coverage = vitals.coverage
    if coverage is None or coverage.status is not Status.NEVER_RAN or not vitals.batches:
        return None
    return Finding(
        id="never_ran",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning=f"The model holds this layer and nothing was seen of it: {coverage.reason}.",
        remedy="call it in forward, or take it out of the model.",
        confidence=0.8,
    )


def not_followed(vitals: Vitals) -> Finding | None:
    """Say of a layer that it could not be followed, and why."""
    coverage = vitals.coverage
    if coverage is None or coverage.status not in (Status.NOT_FOLLOWED, Status.PARTIAL):
        return None
    may_be_registered = coverage.hint == "register"
    is_partial = coverage.status is Status.PARTIAL
    unknown = "A part of what this layer did is not known" if is_partial else "Nothing is known of this layer"
    return Finding(
        id="not_followed",
        severity=Severity.INFO,
        layer=vitals.layer,
        meaning=f"{unknown}: {coverage.reason}.",
        remedy="register the class, if the model calls it once for every step; give its equations as well to see more "
        "than states and gradients. A loop inside its own forward cannot be followed; register the cell that it calls."
        if may_be_registered
        else "",
        call=f"rnn_diag.register(type({module_of(vitals)}))" if may_be_registered else "",
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


def not_optimized(vitals: Vitals) -> Finding | None:
    """Find a layer whose weights need gradients and that no optimiser changes, or of which torch does not know."""
    if vitals.is_hidden and vitals.has_gradients and not vitals.is_frozen:
        return _hidden(vitals)
    if not vitals.in_no_optimizer:
        return None
    return Finding(
        id="not_optimized",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning="Its weights get gradients, and no optimiser changes them: the layer does not learn.",
        remedy="give the optimiser its parameters, or freeze the layer, which saves the backward pass.",
        call=f"torch.optim.Adam({module_of(vitals)}.parameters())",
        confidence=0.9,
    )


def _hidden(vitals: Vitals) -> Finding:
    """Say of a layer in a Python list what torch leaves out."""
    optimizer = "No optimiser changes its weights: t" if vitals.in_no_optimizer else "T"
    return Finding(
        id="not_optimized",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning=f"{optimizer}he module is held in a plain Python list, tuple, dict or dataclass, where torch does not "
        "look. "
        "model.parameters(), state_dict() and to(device) leave it out.",
        remedy="hold it in a torch.nn.ModuleList or ModuleDict.",
        call=vitals.coverage.mend if vitals.coverage is not None else "",
        confidence=0.9,
    )


def zero_gradient(vitals: Vitals) -> Finding | None:
    """Find a layer that the backward pass reaches with nothing: every gradient is exactly zero."""
    if vitals.exact_zero != 1 or vitals.only_others:
        return None
    once = vitals.zero_batches < SEVERAL
    when = "in this batch" if once else f"in {vitals.zero_batches} measured batches in a row"
    return Finding(
        id="zero_gradient",
        severity=Severity.ADVICE if once else Severity.WARNING,
        layer=vitals.layer,
        meaning=f"The backward pass reaches the layer, and {when} every gradient is exactly zero: nothing is learned.",
        remedy="look between here and the loss for a factor of 0, dead or saturated units, a mask that leaves all out, "
        "or a loss that no longer changes.",
        evidence=(evidence(vitals, "exact_zero"),),
        confidence=0.5 if once else 0.9,
    )
