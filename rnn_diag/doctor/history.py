"""What several batches of one run tell together: facts of its layers, and which findings came up, stay and are over."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rnn_diag.doctor.finding import Finding, Severity
from rnn_diag.doctor.report import Report
from rnn_diag.doctor.run_facts import RunFacts
from rnn_diag.measurements.layer import LayerMeasurements

SEVERAL = 3
"""Measured batches in a row."""

LONG = 10
"""Batches; networks that are trained in turn, as in adversarial training, rarely leave one out for longer."""

CARRIED_ON = 2
"""Batches that started from another state, once one had started from zero, as carried states do and data does not."""

STEADY = 3
"""Measured batches for which a finding must stay away to be over, if it was over before and came back."""


FIRST_COUNTS = ("non_finite",)
"""Findings that stand as they were at first: what came later followed from it."""

UNJUDGED = ("non_finite", "float16_underflow", "unfaithful", "never_ran", "not_followed")
"""Where one of these is found, nothing else of the layer is judged: what was found before is not over."""


@dataclass
class _Past:
    """What is known of one layer.

    Attributes:
        idle: Measured batches in a row in which no gradient came.
        since: The first of them.
        version: How often the layer's weights had been changed when it was measured.
        zero: Measured batches in a row in which every gradient was exactly zero.
        from_zero: Whether a batch started from zero.
        carried: How many batches later started from another state, off the graph.
    """

    idle: int = 0
    since: int = 0
    version: int = -1
    zero: int = 0
    from_zero: bool = False
    carried: int = 0


@dataclass
class Episode:
    """One finding at one layer over a run.

    A finding comes up at once. It is over, or milder, at once, too, the first time; if it then comes back, numbers are
    near a threshold, and it stays as it was until it has been away, or milder, for several measured batches in a row.

    Attributes:
        worst: The finding as it was when it was worst.
        first_step, last_step: The first and the last measured step that had it.
        standing: The finding as it stands; None when it is over.
        away: Measured batches in a row for which it was away, or milder than it stands.
        fell: Whether it was over, or milder, before.
        came_back: Whether it came back after that.
    """

    worst: Finding
    first_step: int
    last_step: int
    standing: Finding | None = None
    away: int = 0
    fell: bool = False
    came_back: bool = False

    def follow(self, finding: Finding | None, step: int) -> None:
        """Take note of a measured batch, at which the finding was there, or was not."""
        if finding is not None:
            self.last_step = step
            self.worst = finding if finding.severity > self.worst.severity else self.worst
        if _rank(finding) >= _rank(self.standing):
            self.came_back = self.came_back or (self.fell and _rank(finding) > _rank(self.standing))
            if finding is None or finding.id not in FIRST_COUNTS or self.standing is None:
                self.standing = finding
            self.away = 0
            return
        self.away += 1
        if not self.came_back or self.away >= STEADY:
            self.standing, self.away, self.fell = finding, 0, True

    def to_dict(self) -> dict[str, Any]:
        """Return what `json.dump` takes."""
        one = self.worst
        names = {"id": one.id, "layer": one.layer, "severity": str(one.severity)}
        return {**names, "first_step": self.first_step, "last_step": self.last_step}


@dataclass
class RunHistory:
    """A run as the doctor sees it.

    Attributes:
        report: The latest one; None before the first.
        step: Its training step.
        episodes: By layer and finding.
        batches: How many batches were judged.
    """

    report: Report | None = None
    step: int = -1
    episodes: dict[tuple[str, str], Episode] = field(default_factory=dict)
    batches: int = 0
    _past: dict[str, _Past] = field(default_factory=dict)
    _batch: int = 0

    def note(
        self, measured: Mapping[str, LayerMeasurements], layers: Iterable[str], batch: int, changes: Mapping[str, int]
    ) -> None:
        """Take note of a measured batch.

        Args:
            measured: What was measured, by layer; layers that did not run are left out.
            layers: All that are looked at.
            batch: The batch's number in the run.
            changes: How often each layer's weights have been changed, see `rnn_diag.doctor.parameters.times_changed`:
                a layer that is trained at other batches than those that are measured is at work.
        """
        self._batch = batch
        for layer in layers:
            self._note(self._past.setdefault(layer, _Past()), measured.get(layer), changes.get(layer, 0))

    def facts(self) -> RunFacts:
        """Return what the batches noted so far tell together."""
        return RunFacts(
            batches=self.batches + 1,
            without_gradient={layer: self._idle_for(past) for layer, past in self._past.items()},
            with_zero_gradient={layer: past.zero for layer, past in self._past.items()},
            carried=frozenset(layer for layer, past in self._past.items() if past.carried >= CARRIED_ON),
        )

    def follow(self, report: Report, step: int) -> list[Finding]:
        """Take note of a report; return the findings that are new, or worse than they ever were."""
        self.report, self.step = report, step
        self.batches += 1
        now = {(one.layer, one.id): one for one in report.findings}
        changed = []
        for key, finding in now.items():
            episode = self.episodes.get(key)
            if episode is None:
                self.episodes[key] = Episode(finding, step, step, finding)
            if episode is None or finding.severity > episode.worst.severity:
                changed.append(finding)
        unknown = {layer for layer, id in now if id in UNJUDGED}
        for key, episode in self.episodes.items():
            if key in now or key[0] not in unknown:
                episode.follow(now.get(key), step)
        return changed

    @property
    def standing(self) -> tuple[Finding, ...]:
        """The findings as they stand, the worst first: without those that are over, with those that come and go."""
        now = () if self.report is None else self.report.findings
        order = {(one.layer, one.id): rank for rank, one in enumerate(now)}
        standing = [one.standing for one in self.episodes.values() if one.standing is not None]
        return tuple(sorted(standing, key=lambda one: (-one.severity, order.get((one.layer, one.id), len(order)))))

    def since(self, finding: Finding) -> int:
        """Return the first measured step that had a finding."""
        return self.episodes[finding.layer, finding.id].first_step

    @property
    def severity(self) -> Severity:
        """That of the latest report."""
        return Severity.INFO if self.report is None else self.report.severity

    @property
    def past(self) -> list[Episode]:
        """What came up and is over."""
        return [episode for episode in self.episodes.values() if episode.standing is None]

    def to_json(self) -> str:
        """Return the latest report, with the step and all episodes, as JSON that `Report.read` takes."""
        content = (self.report or Report((), {})).to_dict()
        content |= {"step": self.step, "episodes": [episode.to_dict() for episode in self.episodes.values()]}
        return json.dumps(content, indent=2, allow_nan=False)

    def _note(self, past: _Past, measured: LayerMeasurements | None, changes: int) -> None:
        call = None if measured is None else measured.call
        gradients = None if measured is None else measured.gradients
        if call is not None and call.has_gradients:
            past.idle = 0
        elif past.idle and past.version == changes:
            past.idle += 1
        else:
            past.idle, past.since, past.version = 1, self._batch, changes
        if gradients is not None:
            past.zero = past.zero + 1 if gradients.zeros == gradients.count else 0
        if call is not None:
            past.carried += past.from_zero and call.starts.cut_off
            past.from_zero = past.from_zero or call.starts.at_zero

    def _idle_for(self, past: _Past) -> int:
        """Return for how many batches a layer has got no gradient; 0 as long as that may be a matter of turns."""
        batches = self._batch - past.since + 1
        return batches if past.idle >= SEVERAL and batches >= LONG else 0


def _rank(finding: Finding | None) -> int:
    return -1 if finding is None else int(finding.severity)
