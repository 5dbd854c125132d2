"""One training step that is measured, and what the ranks tell each other of it."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from time import perf_counter
from typing import Any

from rnn_diag.callbacks.session.pace import Shares
from rnn_diag.callbacks.session.plan import Key, Request
from rnn_diag.callbacks.session.warnings import in_words
from rnn_diag.capture import Recording
from rnn_diag.coverage import Coverage, Status
from rnn_diag.measurements.measure import GradientUnits, Measure

Findings = dict[tuple[Key, str], Any]
"""What was measured, by measure and layer."""


@dataclass
class MeasuredStep:
    """A training step that is being measured.

    Attributes:
        step: Under which its numbers will be filed.
        due: The requests that are due.
        wanted: The layers at which each measure is wanted.
        spent: Seconds that measuring had taken before.
        began: When the step began, by the clock.
        recording: What is recorded; None where that failed.
        units: Of the gradients of every backward pass so far.
        coverage: How the layers were seen.
        problems: What went wrong, by measure.
        is_lost: Whether nothing can be measured any more.
        is_shown: Whether subscribers have looked at it.
    """

    step: int
    due: list[Request]
    wanted: dict[Key, list[str]]
    spent: float
    began: float = field(default_factory=perf_counter)
    recording: Recording | None = None
    units: list[GradientUnits] = field(default_factory=list)
    coverage: list[Coverage] = field(default_factory=list)
    problems: dict[Key, str] = field(default_factory=dict)
    is_lost: bool = False
    is_shown: bool = False

    def fail(self, reason: str) -> None:
        """Note a problem that concerns all measures."""
        self.problems |= dict.fromkeys(self.wanted, reason)

    def leave_out(self, keys: Collection[Key]) -> None:
        """Do not measure this."""
        self.wanted = {key: layers for key, layers in self.wanted.items() if key not in keys}


@dataclass
class Completed:
    """What was computed while training went on.

    Attributes:
        step: To which it belongs.
        found: The finished measurements.
        problems: What went wrong, by measure.
    """

    step: int
    found: Findings = field(default_factory=dict)
    problems: dict[Key, str] = field(default_factory=dict)

    @classmethod
    def of(cls, step: int, begun: Findings, measures: Mapping[Key, Measure]) -> Completed:
        """Return finished measurements."""
        completed = cls(step)
        for (key, layer), value in begun.items():
            try:
                completed.found[key, layer] = measures[key].complete(value)
            except Exception as error:
                completed.problems[key] = in_words(error)
        return completed


@dataclass
class RankReport:
    """What one rank tells the others at a measured step.

    Attributes:
        found: What it measured.
        completed: What was completed since the last report.
        problems: What went wrong, by measure.
        is_lost: Whether nothing was measured because of an error outside the measures.
        coverage: How the layers were seen.
        units: Of its gradients; None without a backward pass.
        begun: What is known at once of weights whose measurement takes longer.
        clipped: By what gradients were clipped since the last report.
        shares: What it has spent on measuring.
        is_judging: Whether it still judges.
    """

    found: Findings = field(default_factory=dict)
    completed: Completed | None = None
    problems: dict[Key, str] = field(default_factory=dict)
    is_lost: bool = False
    coverage: list[Coverage] = field(default_factory=list)
    units: GradientUnits | None = None
    begun: Findings = field(default_factory=dict)
    clipped: list[float] = field(default_factory=list)
    shares: Shares = field(default_factory=Shares)
    is_judging: bool = True

    def sendable(self) -> RankReport:
        """Return it without measurements that cannot be sent to another process, which are problems of their measures.

        Other ranks would wait for a report that is never sent.
        """
        try:
            pickle.dumps(self)
        except Exception:
            for (key, layer), value in list(self.found.items()):
                try:
                    pickle.dumps(value)
                except Exception as error:
                    del self.found[key, layer]
                    self.problems[key] = in_words(error)
        return self


def merged(problems: dict[Key, str], ranks: list[Findings]) -> Findings:
    """Return the ranks' measurements together; of a measure that has a problem on any of them, nothing."""
    together: Findings = {}
    for key in sorted({key for found in ranks for key in found}):
        try:
            together[key] = reduce(add, [found[key] for found in ranks if key in found])
        except Exception as error:
            problems[key[0]] = in_words(error)
    return {key: value for key, value in together.items() if key[0] not in problems}


def seen_by_any(ranks: Iterable[RankReport]) -> dict[str, Coverage]:
    """Return how every layer was captured, by the first rank on which it ran."""
    seen: dict[str, Coverage] = {}
    for one in (one for rank in ranks for one in rank.coverage):
        if one.layer not in seen or seen[one.layer].status is Status.NEVER_RAN:
            seen[one.layer] = one
    return seen
