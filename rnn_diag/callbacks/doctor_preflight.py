"""The look at a run's first batch, before any weight has changed: how the network starts, and whether it may go on."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, NamedTuple

from rnn_diag.arguments import one_of
from rnn_diag.callbacks.lightning import all_ranks, gradient_units
from rnn_diag.callbacks.session.exchange import MeasuredStep
from rnn_diag.callbacks.session.warnings import Refusal, in_words
from rnn_diag.doctor.examine import with_coverage
from rnn_diag.doctor.finding import Severity
from rnn_diag.doctor.report import Report
from rnn_diag.doctor.rules import findings_of
from rnn_diag.doctor.tally import Tally

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

CHOICES = ("report", "advice", "warning", "critical")


class Refused(Refusal, RuntimeError):
    """A run that its pre-flight check does not let start."""


class Preflight:
    """Looks at what the first batch did, between its backward pass and the optimiser's step.

    Args:
        word: `"report"` to print what is found; or the severity from which on the run is refused as well.

    Raises:
        ValueError: If the word is none of these.
    """

    def __init__(self, word: str) -> None:
        one_of("preflight", word, CHOICES)
        self._limit = None if word == "report" else Severity[word.upper()]
        self._started = math.nan
        self.is_over = False

    def batch_starts(self) -> None:
        """Begin to take the time."""
        self._started = time.perf_counter()

    def report(self, trainer: Trainer, current: MeasuredStep, layers: list[str]) -> Report:
        """Return what is found at the batch so far, on all ranks together; all of them must come here.

        Raises:
            RuntimeError: On all ranks, if it failed on any.
        """
        began = time.perf_counter()
        self.is_over = True
        factor, scaled = gradient_units(trainer)
        tallies: dict[str, Tally] = {}
        ranks = all_ranks(trainer, _found(current, layers, factor))
        for problem in (rank for rank in ranks if isinstance(rank, str)):
            raise RuntimeError(problem)
        for rank in ranks:
            for name, tally in rank.tallies.items():
                tallies[name] = tallies[name] + tally if name in tallies else tally
        vitals = with_coverage(tallies, ranks[0].coverage, {"amp_scaled": scaled, "batches": 1})
        seconds = {"step": began - self._started, "measuring": time.perf_counter() - began}
        return Report(findings_of(vitals), vitals, seconds=seconds)

    def cost(self, report: Report, every_n_steps: int, max_overhead: float | None) -> str:
        """Return in words what measuring is going to cost."""
        step, measuring = report.seconds["step"], report.seconds["measuring"]
        limit = "" if max_overhead is None else f", and intervals stretch to keep to {100 * max_overhead:g}%"
        return (
            f"pre-flight: the first step forward and backward took {step:.2g} s, looking at it {measuring:.2g} s: "
            f"{measuring / (every_n_steps * max(step, 1e-9)):.1%} of training at every {every_n_steps} steps{limit}"
        )

    def refuse(self, report: Report) -> None:
        """Raise if the report is as bad as the run may not be.

        Raises:
            Refused: If so.
        """
        if self._limit is None or report.severity < max(self._limit, Severity.ADVICE):
            return
        worst = report.findings[0]
        raise Refused(
            f"pre-flight: {worst.summary} Try: {worst.advice} "
            f"(no weight was changed; preflight={str(self._limit)!r} refuses such a start)"
        )


class _Found(NamedTuple):
    """What one rank found, by layer."""

    tallies: dict[str, Tally]
    coverage: dict[str, str]


def _found(current: MeasuredStep, layers: list[str], factor: float) -> _Found | str:
    """Return what is found on this rank, or what went wrong: all ranks must come to the exchange."""
    if current.recording is None:
        return "; ".join(current.problems.values()) or "nothing was recorded"
    try:
        tallies: dict[str, Tally] = {}
        for layer in layers:
            for trace in current.recording.calls(layer):
                one = Tally.of(trace, factor)
                tallies[layer] = tallies[layer] + one if layer in tallies else one
        rows = [row for row in current.recording.coverage if row.layer in layers]
        return _Found(tallies, {row.layer: f"{row.status}: {row.reason}" for row in rows})
    except Exception as error:
        return in_words(error)
