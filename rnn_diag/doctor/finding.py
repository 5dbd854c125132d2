"""What the doctor found at one layer: how bad, from which numbers, what it means and what to try first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

MOST_WAYS = 3
"""Calls that are shown of findings that are alike; each finding has its own."""


class Severity(IntEnum):
    """How bad a finding is."""

    INFO = 0
    """Worth knowing; nothing to do."""
    ADVICE = 1
    """Training works; this would probably make it better or cheaper."""
    WARNING = 2
    """Something that one relies on does not work."""
    CRITICAL = 3
    """Training cannot work like this."""

    def __str__(self) -> str:
        return self.name.lower()


class Evidence(NamedTuple):
    """One number that a finding rests on.

    Attributes:
        name: In words.
        value: The number.
        tag: Under which callbacks log it, or where else it can be read; empty if nowhere.
    """

    name: str
    value: float
    tag: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {number(self.value)}"


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        id: The rule's word, such as `vanishing`; the heading in `docs/doctor.md`.
        severity: How bad it is.
        layer: Where.
        meaning: What it means, in one sentence.
        remedy: What to try first, in words; empty where there is nothing to do.
        call: The call that does it, or empty.
        option: The words that do it after `rnn-diag-train` or `rnn-diag-doctor`, or empty.
        evidence: The numbers that it rests on.
        confidence: Between 0 and 1.
        from_command_line: Whether the run was started by this package's commands, so that `advice` names the option.

    Example:
        >>> peak = Evidence("largest influence", 200.0)
        >>> print(Finding("exploding", Severity.WARNING, "l0", "It grows.", "Clip.", evidence=(peak,)))
        warning: l0: exploding: It grows. (largest influence: 200)
            Try: Clip.
    """

    id: str
    severity: Severity
    layer: str
    meaning: str
    remedy: str = ""
    call: str = ""
    option: str = ""
    evidence: tuple[Evidence, ...] = ()
    confidence: float = 0.9
    from_command_line: bool = False

    @property
    def headline(self) -> str:
        """The finding in one line, without its numbers and without what to try."""
        return f"{self.severity}: {self.layer}: {self.id}: {self.meaning}"

    @property
    def summary(self) -> str:
        """The finding in one line, without what to try."""
        numbers = "; ".join(map(str, self.evidence))
        return self.headline + (f" ({numbers})" if numbers else "")

    @property
    def advice(self) -> str:
        """What to try, with the call that does it or, in a run from our command line, the option."""
        return f"{self.remedy} {self.way}".strip()

    @property
    def way(self) -> str:
        """The call, or the option, that does what to try; or empty."""
        return f"On the command line: {self.option}" if self.from_command_line and self.option else self.call

    def __str__(self) -> str:
        return f"{self.summary}\n    Try: {self.advice}" if self.advice else self.summary

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dump` takes; numbers that are not finite are words there."""
        evidence = [
            {"name": one.name, "value": one.value if math.isfinite(one.value) else str(one.value), "tag": one.tag}
            for one in self.evidence
        ]
        return {**vars(self), "severity": str(self.severity), "evidence": evidence}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Finding:
        """Return what `to_dict` gave."""
        evidence = tuple(Evidence(one["name"], float(one["value"]), one["tag"]) for one in values["evidence"])
        return cls(**{**values, "severity": Severity[values["severity"].upper()], "evidence": evidence})


def alike(findings: Iterable[Finding]) -> list[tuple[Finding, ...]]:
    """Return findings in groups that differ in layer, numbers and the module that a call names alone.

    Groups are in the order of the first of each.

    Example:
        >>> grows = [Finding("exploding", Severity.WARNING, layer, "It grows.", "Clip.") for layer in ("l0", "l1")]
        >>> [len(group) for group in alike(grows)]
        [2]
    """
    groups: dict[tuple[str, Severity, str], list[Finding]] = {}
    for one in findings:
        groups.setdefault((one.id, one.severity, one.remedy), []).append(one)
    return [tuple(group) for group in groups.values()]


def ways_of(group: Iterable[Finding]) -> str:
    """Return the calls, or options, of findings that are alike, each once; of many the first few.

    Example:
        >>> ways_of(Finding("exploding", Severity.WARNING, one, "It grows.", "Clip.", f"clip({one})") for one in "ab")
        'clip(a); clip(b)'
    """
    ways = list(dict.fromkeys(one.way for one in group if one.way))
    return "; ".join([*ways[:MOST_WAYS], *(["…"] if len(ways) > MOST_WAYS else [])])


def number(value: float, digits: int = 3) -> str:
    """Return a number as people write it: few digits, and a power of ten where it is very large or small.

    Example:
        >>> number(0.0123456), number(12345.6), number(4.29e246), number(float("nan")), number(-2.5e-7)
        ('0.0123', '12,346', '4.3·10^246', 'nan', '-2.5·10^-7')
    """
    size = abs(value)
    if not math.isfinite(value) or value == 0 or 1e-4 <= size < 10**digits - 0.5:
        return f"{value:.{digits}g}"
    if 10**digits - 0.5 <= size < 1e6:
        return f"{value:,.0f}"
    factor, _, power = f"{value:.1e}".partition("e")
    return f"{factor.removesuffix('.0')}·10^{int(power)}"
