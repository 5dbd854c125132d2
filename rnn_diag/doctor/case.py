"""The history of one run: which findings came up, when, and which of them are still there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from rnn_diag.doctor.finding import Finding, Severity
from rnn_diag.doctor.report import Report


@dataclass
class Episode:
    """One finding at one layer over a run.

    Attributes:
        worst: The finding as it was when it was worst.
        first_step, last_step: The first and the last measured step that had it.
    """

    worst: Finding
    first_step: int
    last_step: int

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dump` takes."""
        one = self.worst
        names = {"id": one.id, "layer": one.layer, "severity": str(one.severity)}
        return {**names, "first_step": self.first_step, "last_step": self.last_step}


class Latest:
    """Where a doctor leaves its latest report: the same place for all its deep copies, as projects make of callbacks.

    Attributes:
        report: None before the first.
    """

    def __init__(self) -> None:
        self.report: Report | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Latest:
        return self


@dataclass
class Case:
    """A run as the doctor sees it.

    Attributes:
        report: The latest one; None before the first.
        step: Its training step.
        episodes: By layer and finding.
    """

    report: Report | None = None
    step: int = -1
    episodes: dict[tuple[str, str], Episode] = field(default_factory=dict)

    def follow(self, report: Report, step: int) -> list[Finding]:
        """Take note of a report; return the findings that are new, or worse than they ever were."""
        self.report, self.step = report, step
        changed = []
        for finding in report.findings:
            key = finding.layer, finding.id
            episode = self.episodes.get(key)
            if episode is None:
                self.episodes[key] = Episode(finding, step, step)
                changed.append(finding)
                continue
            episode.last_step = step
            if finding.severity > episode.worst.severity:
                episode.worst = finding
                changed.append(finding)
        return changed

    @property
    def severity(self) -> Severity:
        """That of the latest report."""
        return Severity.INFO if self.report is None else self.report.severity

    @property
    def past(self) -> list[Episode]:
        """What came up and was gone at the latest report."""
        return [episode for episode in self.episodes.values() if episode.last_step < self.step]

    def to_json(self) -> str:
        """Return the latest report, with the step and all episodes, as JSON that `Report.read` takes."""
        content = (self.report or Report((), {})).to_dict()
        content |= {"step": self.step, "episodes": [episode.to_dict() for episode in self.episodes.values()]}
        return json.dumps(content, indent=2, allow_nan=False)
