"""Two reports side by side: what got better and worse, in words and numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from rnn_diag.doctor.finding import Finding, number
from rnn_diag.doctor.report import Report
from rnn_diag.doctor.signs import SIGNS, Sign
from rnn_diag.doctor.vitals import Vitals

NOTABLE = 0.1
"""Relative change from which a number is told."""


class Change(NamedTuple):
    """One number of one layer that changed.

    Attributes:
        layer: Where.
        name: Which, in words.
        before, after: The numbers.
        verdict: `better`, `worse`, or `changed` where neither is.
    """

    layer: str
    name: str
    before: float
    after: float
    verdict: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.name} {number(self.before)} → {number(self.after)} ({self.verdict})"


@dataclass(frozen=True)
class Comparison:
    """What differs between two reports.

    Attributes:
        gone: Findings of the first report that the second has no longer.
        new: Findings that only the second has.
        milder, graver: Pairs of findings of both, whose severity changed.
        changes: Numbers that changed by a tenth or more, at layers that both have.
        only_before, only_after: Layers that only one has.
    """

    gone: tuple[Finding, ...]
    new: tuple[Finding, ...]
    milder: tuple[tuple[Finding, Finding], ...]
    graver: tuple[tuple[Finding, Finding], ...]
    changes: tuple[Change, ...]
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `mixed` or `same`, by findings."""
        better, worse = bool(self.gone or self.milder), bool(self.new or self.graver)
        return "mixed" if better and worse else "better" if better else "worse" if worse else "same"

    def __str__(self) -> str:
        lines = [f"By findings: {self.verdict}."]
        lines += [f"gone: {one.headline}" for one in self.gone]
        lines += [f"new: {one.headline}" for one in self.new]
        for word, pairs in (("milder", self.milder), ("graver", self.graver)):
            lines += [f"{word}: {b.layer}: {b.id}: {b.severity} → {a.severity}" for b, a in pairs]
        lines += [str(change) for change in self.changes]
        lines += [f"only before: {layer}" for layer in self.only_before]
        lines += [f"only after: {layer}" for layer in self.only_after]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dump` takes."""
        return {
            "verdict": self.verdict,
            "gone": [one.to_dict() for one in self.gone],
            "new": [one.to_dict() for one in self.new],
            "milder": [[before.to_dict(), after.to_dict()] for before, after in self.milder],
            "graver": [[before.to_dict(), after.to_dict()] for before, after in self.graver],
            "changes": [
                {name: v if isinstance(v, str) or math.isfinite(v) else str(v) for name, v in one._asdict().items()}
                for one in self.changes
            ],
            "only_before": list(self.only_before),
            "only_after": list(self.only_after),
        }


def compare(before: Report, after: Report) -> Comparison:
    """Return what got better and worse from one report to another.

    Example:
        >>> first = Report((), {"l0": Vitals("l0", horizon=5.0, furthest=50.0)})
        >>> second = Report((), {"l0": Vitals("l0", horizon=50.0, furthest=50.0)})
        >>> print(compare(first, second))
        By findings: same.
        l0: horizon in steps 5 → 50 (better)
    """
    old, new = ({(one.layer, one.id): one for one in report.findings} for report in (before, after))
    both = [(old[key], new[key]) for key in old if key in new]
    layers = [layer for layer in before.vitals if layer in after.vitals]
    return Comparison(
        gone=tuple(one for key, one in old.items() if key not in new),
        new=tuple(one for key, one in new.items() if key not in old),
        milder=tuple(pair for pair in both if pair[1].severity < pair[0].severity),
        graver=tuple(pair for pair in both if pair[1].severity > pair[0].severity),
        changes=tuple(change for layer in layers for change in _changes(before.vitals[layer], after.vitals[layer])),
        only_before=tuple(layer for layer in before.vitals if layer not in after.vitals),
        only_after=tuple(layer for layer in after.vitals if layer not in before.vitals),
    )


def _changes(before: Vitals, after: Vitals) -> list[Change]:
    pairs = [(sign, getattr(before, name), getattr(after, name)) for name, sign in SIGNS.items() if sign.is_compared]
    return [
        Change(before.layer, sign.words, old, new, _verdict(sign, old, new))
        for sign, old, new in pairs
        if _notable(old, new)
    ]


def _verdict(sign: Sign, old: float, new: float) -> str:
    """Return whether a number got better, where it can."""
    badness = [_badness(sign, value) for value in (old, new)]
    return "better" if badness[1] < badness[0] else "worse" if badness[1] > badness[0] else "changed"


def _badness(sign: Sign, value: float) -> float:
    if sign.best == "one":
        return abs(math.log(value)) if value > 0 else math.inf
    return {"large": -value, "small": value, "zero": abs(value), "": 0.0}[sign.best]


def _notable(old: float, new: float) -> bool:
    if math.isnan(old) or math.isnan(new) or old == new:
        return False
    return not math.isfinite(old - new) or abs(new - old) >= NOTABLE * max(abs(old), abs(new))
