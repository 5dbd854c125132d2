"""How sequences pass through a layer: padding, directions, states that are not handed on, axes that are swapped."""

from __future__ import annotations

from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.rules.remedies import module_of
from rnn_diag.doctor.vitals import Vitals

MUCH_READ = 0.25
"""Share of the steps read; less is forgotten little over."""

MOST = 0.5
"""Share of a batch, or of its sequences."""

BARELY = 0.25
"""Share of a sequence that a direction has read when its output is last used."""

WELL = 0.75
"""The same for the direction that is used."""

FAINT = 1e-3
"""Gradient that enters through a direction over that of the other."""

PACK = "torch.nn.utils.rnn.pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)"


def state_not_handed_on(vitals: Vitals) -> Finding | None:
    """Find calls of one step each that all start from zero: nothing is recurrent."""
    if not (vitals.steps == 1 and vitals.from_zero and vitals.on_graph):
        return None
    several = vitals.calls > 1
    return Finding(
        id="state_not_handed_on",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning=f"{vitals.calls} calls of one step each start from zero: the state of one is never handed to the next, "
        "and nothing is remembered."
        if several
        else "Sequences have one step and start from zero: nothing is recurrent, and recurrent weights do not learn.",
        remedy="hand the state that a call returns to the next call."
        if several
        else "give whole sequences: is the axis of length 1 the one that is meant as time?",
        call=f"output, state = {module_of(vitals)}(inputs, state)" if several else "",
        evidence=(Evidence("steps of the longest sequence", vitals.steps), Evidence("calls", vitals.calls)),
        confidence=0.9 if several else 0.7,
    )


def detached_at_every_step(vitals: Vitals) -> Finding | None:
    """Find calls of one step each whose state is carried over, with the gradient cut at every one of them."""
    if not (vitals.steps == 1 and vitals.calls > 1 and vitals.carried_state):
        return None
    return Finding(
        id="detached_at_every_step",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning=f"The state is detached at every one of {vitals.calls} steps: no gradient travels through time, and "
        "nothing can be learned about earlier steps.",
        remedy="detach the state once for each chunk of steps, not inside the loop over them.",
        evidence=(Evidence("calls", vitals.calls), Evidence("steps that a gradient passes", 0.0)),
        confidence=0.9,
    )


def silent_sequences(vitals: Vitals) -> Finding | None:
    """Find that most sequences get no gradient at any step while others do: often batch and time are swapped.

    Where none of those that are looked at has one, it is known whether others of the batch have.
    """
    silent = vitals.silent_sequences
    if not vitals.has_gradients or not silent or silent < MOST * vitals.sequences:
        return None
    if vitals.exact_zero == 1 and not vitals.only_others:
        return None
    where = "; others of the batch do" if vitals.only_others else ""
    return Finding(
        id="silent_sequences",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning=f"{silent} of {vitals.sequences} sequences get no gradient at any step{where}. Is the first axis time? "
        "If it is the batch, the recurrence runs over the batch.",
        remedy="check which axis is time: torch's layers read (time, batch, features) unless batch_first=True. "
        "If the loss leaves these sequences out on purpose, leave them out of the batch.",
        call=f"{module_of(vitals)}.batch_first = True" if _is_fused(vitals) else "",
        evidence=(Evidence("sequences without a gradient", silent), Evidence("sequences", vitals.sequences)),
        confidence=0.7,
    )


def _is_fused(vitals: Vitals) -> bool:
    kind = "" if vitals.coverage is None else vitals.coverage.module_type
    return kind in ("torch.nn.RNN", "torch.nn.LSTM", "torch.nn.GRU")


def state_not_followed(vitals: Vitals) -> Finding | None:
    """Say that the model does something to the state between calls through which it cannot be followed."""
    if not (vitals.state_changed or vitals.in_pieces):
        return None
    branches = (
        "a state is handed to several calls, is made of several states, or is used with other sequences than "
        "it was returned with"
    )
    mixes = "what it does to the state between calls mixes units or sequences, as a normalisation or a layer does"
    lost = (
        "Total gradients are exact; none at a first step is compared with that at a last, and how far a single loss "
        "reaches is not known."
        if vitals.in_pieces
        else "Total gradients are exact, and how far a single loss reaches is not known."
    )
    return Finding(
        id="state_not_followed",
        severity=Severity.INFO,
        layer=vitals.layer,
        meaning=f"The model changes the state between calls: {branches if vitals.in_pieces else mixes}. {lost}",
        evidence=(Evidence("calls", vitals.calls), Evidence("steps of the longest sequence", vitals.steps)),
        confidence=1.0,
    )


def dead_direction(vitals: Vitals) -> Finding | None:
    """Find a direction whose output is used before it has read the sequence, or not at all."""
    other = vitals.other_direction
    if not other or not vitals.has_gradients or not other["read_share"] >= WELL:
        return None
    faint = vitals.direct_norm < FAINT * other["direct_norm"]
    if not (vitals.read_share < BARELY or faint):
        return None
    reverse = vitals.layer.endswith("_reverse")
    step, end = ("0", "last") if reverse else ("-1", "first")
    used = "not used" if faint else f"used when it has read {vitals.read_share:.0%} of the sequence"
    return Finding(
        id="dead_direction",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning=f"This direction's output is {used}: half of the layer's parameters do nothing for the task.",
        remedy=f"read it where it has seen everything: output[:, {step}] of its half, not the {end} step's, or h_n.",
        call=f"_, state = {module_of(vitals)}(inputs); torch.cat((state[-2], state[-1]), -1)",
        evidence=(
            Evidence("share of the sequence it has read", vitals.read_share),
            Evidence("the other direction", other["read_share"]),
            Evidence("gradient that enters", vitals.direct_norm),
            Evidence("in the other direction", other["direct_norm"]),
        ),
        confidence=0.9,
    )


def padding_read(vitals: Vitals) -> Finding | None:
    """Find that tails of repeated inputs, of a length that differs from sequence to sequence, are read and used.

    Where the loss leaves such steps out, as with an `ignore_index`, and nothing else uses them, they do no harm.
    """
    if not vitals.padding_read >= MUCH_READ:
        return None
    return Finding(
        id="padding_read",
        severity=Severity.WARNING,
        layer=vitals.layer,
        meaning=f"{vitals.padding_read:.0%} of the steps read repeat a sequence's last input, in tails that differ in "
        "length: padding is read as data, and the last state is that of the padding.",
        remedy="pack the sequences, so that padding is left out.",
        call=PACK,
        evidence=(Evidence("share of steps that repeat the last input", vitals.padding_read),),
        confidence=0.75,
    )


def padding_in_front(vitals: Vitals) -> Finding | None:
    """Find that heads of repeated inputs, of a length that differs from sequence to sequence, are read.

    A layer that reads forward starts with them and may forget them; one that reads backward ends with them.
    """
    if not vitals.padding_in_front >= MUCH_READ:
        return None
    reverse = vitals.layer.endswith("_reverse")
    return Finding(
        id="padding_in_front",
        severity=Severity.WARNING if reverse else Severity.ADVICE,
        layer=vitals.layer,
        meaning=f"{vitals.padding_in_front:.0%} of the steps read repeat a sequence's first input, in heads that "
        "differ in length: padding in front is read as data, "
        + ("and the state at the end is that of the padding." if reverse else "and sequences do not start from zero."),
        remedy="pad behind the sequences, and pack them, so that padding is left out.",
        call=PACK,
        evidence=(Evidence("share of steps that repeat the first input", vitals.padding_in_front),),
        confidence=0.75,
    )


def padding_dominates(vitals: Vitals) -> Finding | None:
    """Find that most of a batch is padding, which packing leaves out of the numbers but not of memory."""
    if not vitals.padding >= MOST:
        return None
    return Finding(
        id="padding_dominates",
        severity=Severity.ADVICE,
        layer=vitals.layer,
        meaning=f"{vitals.padding:.0%} of the batch is padding: most of its memory, and of every layer around the "
        "recurrent one, is spent on nothing.",
        remedy="put sequences of similar lengths into the same batch (a batch sampler that sorts by length).",
        call="DataLoader(..., batch_sampler=...)",
        evidence=(Evidence("share of the batch", vitals.padding),),
        confidence=0.95,
    )
