"""What a run's log holds, layer by layer, through the reader of the tab."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from tensorboard import errors

from rnn_diag.tb.folder import Folder
from rnn_diag.tb.kinds.gates import NOT_A_NUMBER, WHOLE
from rnn_diag.tb.kinds.verdict import findings_in
from rnn_diag.tb.rows import Event

Array = np.ndarray[Any, Any]


class Logged(NamedTuple):
    """One series.

    Attributes:
        content: Its description.
        events: By training step, at least one.
    """

    content: Mapping[str, Any]
    events: list[Event]

    @property
    def steps(self) -> list[int]:
        """The training steps."""
        return [one.step for one in self.events]

    @property
    def last(self) -> Array:
        """What was measured last."""
        return self.events[-1].values


@dataclass
class LoggedLayer:
    """The series of one layer.

    Attributes:
        series: By kind.
        by_matrix: By kind and matrix, where each matrix has a series.
    """

    series: dict[str, Logged] = field(default_factory=dict)
    by_matrix: dict[str, dict[str, Logged]] = field(default_factory=dict)


@dataclass
class LoggedRun:
    """A run.

    Attributes:
        layers: By name.
        verdicts: The findings as they stood, by the training step that they were written at.
        metrics: What else was logged as a number, by tag: training steps and values.
        unreadable: Sentences on what cannot be shown.
    """

    layers: dict[str, LoggedLayer] = field(default_factory=dict)
    verdicts: dict[int, list[dict[str, str]]] = field(default_factory=dict)
    metrics: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    @property
    def standing(self) -> list[dict[str, str]]:
        """The findings as they stood at the end, the worst first."""
        return list(self.verdicts.values())[-1] if self.verdicts else []

    def since(self, finding: Mapping[str, str]) -> int:
        """Return the training step from which on a finding stood until the end."""
        first = next(reversed(self.verdicts), 0)
        for step, findings in reversed(self.verdicts.items()):
            if _key(finding) not in map(_key, findings):
                break
            first = step
        return first


def runs_in(folder: str) -> dict[str, LoggedRun]:
    """Return the runs beneath a folder that hold diagnostics, by name; the folder itself is `.`."""
    log = Folder(folder)
    return {run: _read(log, run, tags) for run, tags in sorted(log.listing().items())}


def profiles(values: Array) -> Array:
    """Return `[3, time]`, the median, 10th and 90th percentile, of a stored profile: every bin over its timesteps."""
    return np.repeat(values[:3].astype(np.float64), values[3].astype(int), axis=1)


def shares(values: Array) -> Array:
    """Return shares between 0 and 1 of bytes; NaN where there is none."""
    return np.where(values == NOT_A_NUMBER, np.nan, values.astype(np.float64) / WHOLE)


def gates_in_time(values: Array) -> Array:
    """Return `[gates, 3, time]`, mean, share shut and share open: every bin over its timesteps."""
    return np.repeat(shares(values[:, :3]), values[0, 3].astype(int), axis=2)


def _key(finding: Mapping[str, str]) -> tuple[str, str]:
    return finding.get("layer", ""), finding.get("title", "").partition(":")[0]


def _read(log: Folder, run: str, tags: Mapping[str, Any]) -> LoggedRun:
    found = LoggedRun(metrics=log.metrics(run))
    for tag in sorted(tags):
        try:
            content, checked = log.series(run, tag)
        except (errors.NotFoundError, errors.InvalidArgumentError) as error:
            found.unreadable.append(str(error))
            continue
        if checked.unreadable:
            found.unreadable.append(f"{checked.unreadable} measurements of {tag!r}: {checked.why}")
        if not checked.events:
            continue
        if content["kind"] == "verdict":
            read = ((event.step, findings_in(event.values)) for event in checked.events)
            found.verdicts = {step: findings for step, findings in read if findings is not None}
        elif content["layer"]:
            layer = found.layers.setdefault(content["layer"], LoggedLayer())
            home = layer.by_matrix.setdefault(content["kind"], {}) if "matrix" in content else layer.series
            home[content.get("matrix", content["kind"])] = Logged(content, checked.events)
    return found
