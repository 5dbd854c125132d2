"""The doctor's findings (`verdict`), of the whole run: written when they change, and read back with their panel."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rnn_diag.tb.kinds.kind import MOST_LETTERS, Array, Kind
from rnn_diag.tb.writer import write

SEVERITIES = ("ok", "info", "advice", "warning", "critical")
"""From the best to the worst."""
TEXTS = ("layer", "title", "evidence", "advice", "id")
MOST_FINDINGS = 1000

PANELS = {
    **dict.fromkeys(("non_finite", "no_gradient", "zero_gradient", "dead_direction"), "gradients"),
    **dict.fromkeys(("silent_sequences", "state_not_followed"), "gradients"),
    **dict.fromkeys(("padding_read", "padding_in_front", "padding_dominates"), "gradients"),
    **dict.fromkeys(("vanishing", "hidden_vanishing", "exploding", "rounding"), "gradients"),
    **dict.fromkeys(("float16_underflow", "clipping_nearly_always"), "profile"),
    "truncation_too_short": "influence",
    "transient_growth": "spectrum",
    **dict.fromkeys(("stuck_gate", "saturated_gates", "latching"), "units"),
    **dict.fromkeys(("forget_bias_low", "forget_bias_uneven", "forget_bias_one_of_two"), "gates"),
}
"""The panel that shows what a finding rests on, by the rule's word; some rest on nothing that is drawn."""

VERDICT = Kind("verdict", "object", (), "JSON list of findings", None)


def write_verdict(writer: Any, step: int, findings: Sequence[Mapping[str, Any]]) -> None:
    """Write what was found in words; best when it changes and at the end.

    Args:
        writer: The logger's writer.
        step: Training step.
        findings: Of each, `severity` (`ok`, `info`, `advice`, `warning` or `critical`) and `title`, one sentence; and,
            where they are known, `layer`, `evidence`, `advice`, and `id`, the rule's word.

    Raises:
        ValueError: If a finding has no title or another severity.
    """
    for finding in findings:
        if finding.get("severity") not in SEVERITIES or not finding.get("title"):
            raise ValueError(f"finding {dict(finding)!r}; expected a title and a severity: {', '.join(SEVERITIES)}")
    text = json.dumps([dict(finding) for finding in findings], default=str)
    write(writer, VERDICT.name, "", step, text.encode())


def findings_in(values: Array) -> list[dict[str, str]] | None:
    """Return the findings that a series holds at one step, the worst first; None if it holds something else.

    Example:
        >>> import numpy as np
        >>> findings_in(np.array(b'[{"severity": "warning", "title": "vanishing: It fades.", "layer": "l0"}]'))
        [{'severity': 'warning', 'layer': 'l0', 'title': 'vanishing: It fades.', 'panel': 'gradients'}]
    """
    try:
        found = json.loads(values.item())
    except (TypeError, ValueError, RecursionError):
        return None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found[:MOST_FINDINGS]):
        return None
    read = [_finding(one) for one in found[:MOST_FINDINGS]]
    return sorted(read, key=lambda one: -SEVERITIES.index(one["severity"]))


def _finding(given: dict[str, Any]) -> dict[str, str]:
    severity = given.get("severity")
    finding = {"severity": severity if severity in SEVERITIES else "info"}
    for name in TEXTS:
        if isinstance(value := given.get(name), str) and value:
            finding[name] = value[: 4 * MOST_LETTERS].encode(errors="replace").decode()
    word = finding.get("id") or finding.get("title", "").partition(":")[0]
    return finding | ({"panel": PANELS[word]} if word in PANELS else {})
