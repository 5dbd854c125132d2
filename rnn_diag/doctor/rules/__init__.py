"""One rule, or a few closely related ones, per file: vital signs in, a finding or None out."""

from rnn_diag.doctor.rules.all_rules import FIRST, RULES, WORDS, findings_of

__all__ = ["FIRST", "RULES", "WORDS", "findings_of"]
