"""Padding: read as if it were data, or most of what is computed."""

from __future__ import annotations

from rnn_diag.doctor.finding import Evidence, Finding, Severity
from rnn_diag.doctor.vitals import Vitals

MUCH_READ = 0.25
"""Share of the steps read; less is forgotten little over."""

MOST = 0.5
"""Share of a batch."""

PACK = "torch.nn.utils.rnn.pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)"


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


def padding_dominates(vitals: Vitals) -> Finding | None:
    """Find that most of a batch is padding, which packing leaves out of the numbers but not of memory."""
    if not vitals.padding >= MOST:
        return None
    return Finding(
        id="padding_dominates",
        severity=Severity.ADVICE,
        layer=vitals.layer,
        meaning=f"{vitals.padding:.0%} of the batch is padding: most of its memory, and of every layer beside the "
        "recurrent one, is spent on nothing.",
        remedy="put sequences of similar lengths into the same batch (a batch sampler that sorts by length).",
        call="DataLoader(..., batch_sampler=...)",
        evidence=(Evidence("share of the batch", vitals.padding),),
        confidence=0.95,
    )
