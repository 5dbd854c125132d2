"""One training step that is measured, and what the ranks tell each other of it."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from rnn_diag.callbacks.session.pace import Shares
from rnn_diag.callbacks.session.plan import Key, Request
from rnn_diag.callbacks.session.warnings import in_words
from rnn_diag.callbacks.session.wire import Wire
from rnn_diag.capture import Recording
from rnn_diag.coverage import Coverage, Status
from rnn_diag.measurements.gate_weights import GateWeightNumbers
from rnn_diag.measurements.measure import GradientUnits, Measure
from rnn_diag.measurements.sent import received, sent
from rnn_diag.pending import Pending
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

Findings = dict[tuple[Key, str], Any]
"""What was measured, by measure and layer."""


class Asked(NamedTuple):
    """What was asked of a device for one measure.

    Attributes:
        key: The measure.
        layer: The layer's name.
        trace: One of its calls.
        pending: The measurement.
    """

    key: Key
    layer: str
    trace: Trace
    pending: Pending[Any]


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
        asked: What was asked of the device: for every measure, layer and call.
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
    asked: list[Asked] = field(default_factory=list)

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
        may_measure: Whether it has layers, or may yet find some.
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
    may_measure: bool = True

    def to_bytes(self) -> bytes:
        """Return it as it is sent: without measurements that cannot be, which become problems of their measures.

        Other ranks would wait for a report that is never sent.
        """
        completed = None if self.completed is None else replace(self.completed, found=sent(self.completed.found))
        report = replace(self, found=sent(self.found), begun=sent(self.begun), completed=completed)
        try:
            return pickle.dumps(report)
        except Exception:
            for (key, layer), value in list(report.found.items()):
                try:
                    pickle.dumps(value)
                except Exception as error:
                    del report.found[key, layer]
                    self.problems[key] = in_words(error)
        return pickle.dumps(report)

    @classmethod
    def from_bytes(cls, message: bytes) -> RankReport:
        """Return what another rank sent."""
        report: RankReport = pickle.loads(message)
        report.found, report.begun = received(report.found), received(report.begun)
        if report.completed is not None:
            report.completed.found = received(report.completed.found)
        return report

    def with_pictures_of(self, mine: RankReport) -> RankReport:
        """Return it with what of weights is only drawn: it stays on the rank that measured it, which also writes."""
        drawn = {key: value for key, value in mine.found.items() if isinstance(value, GateWeightNumbers)}
        drawn = {key: value for key, value in drawn.items() if key in self.found}
        return replace(self, found=self.found | drawn, completed=mine.completed)


def exchanged(wire: Wire, trainer: Trainer, mine: RankReport) -> list[RankReport]:
    """Return every rank's report, in the ranks' order. All ranks must call this together."""
    if trainer.world_size == 1 or not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [mine]
    try:
        message = mine.to_bytes()
    except Exception:
        wire.gather(trainer, RankReport(is_lost=True).to_bytes())  # other ranks wait for it
        raise
    reports = [RankReport.from_bytes(one) for one in wire.gather(trainer, message)]
    reports[trainer.global_rank] = reports[trainer.global_rank].with_pictures_of(mine)
    return reports


def merged(problems: dict[Key, str], ranks: list[Findings]) -> Findings:
    """Return the ranks' measurements together; of a measure that has a problem on any of them, nothing."""
    together: Findings = {}
    for key in sorted({key for found in ranks for key in found}):
        try:
            together[key] = reduce(add, [found[key] for found in ranks if key in found])
        except Exception as error:
            problems[key[0]] = in_words(error)
    return {key: value for key, value in together.items() if key[0] not in problems}


def seen_by_any(ranks: Iterable[Iterable[Coverage]]) -> dict[str, Coverage]:
    """Return how every layer was captured, by the first rank on which it ran."""
    seen: dict[str, Coverage] = {}
    for one in (one for rank in ranks for one in rank):
        if one.layer not in seen or seen[one.layer].status is Status.NEVER_RAN:
            seen[one.layer] = one
    return seen
