"""One training step that is measured, and what the ranks tell each other of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

from rnn_diag.capture import Coverage, Recording
from rnn_diag.measurements.gradients import GradientUnits

Findings = dict[tuple[int, str], Any]
"""What was found, by the place of the diagnostic and the layer."""


@dataclass
class MeasuredStep:
    """A training step that is being measured.

    Attributes:
        step: Under which its numbers will be filed.
        due: Places of the diagnostics that measure.
        spent: Seconds that measuring had taken before.
        recording: What is recorded; None where that failed.
        units: Of the gradients of every backward pass so far.
        coverage: How the layers were seen.
        problems: What went wrong, by the place of the diagnostic.
    """

    step: int
    due: list[int]
    spent: float
    recording: Recording | None = None
    units: list[GradientUnits] = field(default_factory=list)
    coverage: list[Coverage] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)

    def fail(self, error: BaseException) -> None:
        """Note an error that concerns all."""
        self.problems |= dict.fromkeys(self.due, described(error))


@dataclass
class Completed:
    """What was computed while training went on.

    Attributes:
        step: To which it belongs.
        found: The findings in full.
        problems: What went wrong, by the place of the diagnostic.
    """

    step: int
    found: Findings = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, step: int, begun: Findings, complete: Mapping[int, Callable[[Any], Any]]) -> Completed:
        """Return findings in full."""
        completed = cls(step)
        for (place, layer), value in begun.items():
            try:
                completed.found[place, layer] = complete[place](value)
            except Exception as error:
                completed.problems[place] = described(error)
        return completed


@dataclass
class Report:
    """What one rank tells the others at a measured step.

    Attributes:
        found: What it found.
        completed: What was completed since the last report.
        problems: What went wrong, by the place of the diagnostic.
        overhead: Share of the training time that measuring took so far.
        recent: The same since the cadence last looked.
        seconds: Since the first measured step.
    """

    found: Findings = field(default_factory=dict)
    completed: Completed | None = None
    problems: dict[int, str] = field(default_factory=dict)
    overhead: float = 0.0
    recent: float = 0.0
    seconds: float = 0.0


def merged(problems: dict[int, str], ranks: list[Findings]) -> Findings:
    """Return the ranks' findings together; of a diagnostic that has a problem on any of them, nothing."""
    together: Findings = {}
    for key in sorted({key for found in ranks for key in found}):
        try:
            together[key] = reduce(add, [found[key] for found in ranks if key in found])
        except Exception as error:
            problems[key[0]] = described(error)
    return {key: value for key, value in together.items() if key[0] not in problems}


def described(error: BaseException) -> str:
    """Return an error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
