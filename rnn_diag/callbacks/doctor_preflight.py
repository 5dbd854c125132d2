"""The look at a run's first batch, before any weight has changed: how the network starts, and whether it may go on."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from rnn_diag.arguments import one_of
from rnn_diag.callbacks.concern import Schedule
from rnn_diag.callbacks.lightning import all_ranks, gradient_units
from rnn_diag.callbacks.session.exchange import seen_by_any
from rnn_diag.callbacks.session.warnings import Refusal, in_words
from rnn_diag.callbacks.subscriber import FirstLook
from rnn_diag.coverage import Coverage
from rnn_diag.doctor.finding import Severity
from rnn_diag.doctor.judge import judge
from rnn_diag.doctor.parameters import frozen_layers, parameters_of_layers
from rnn_diag.doctor.report import Report
from rnn_diag.doctor.run_facts import RunFacts
from rnn_diag.measurements.gradients import GradientUnits
from rnn_diag.measurements.layer import LayerMeasurements

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

CHOICES = ("report", "advice", "warning", "critical")


class Refused(Refusal, RuntimeError):
    """A run that its pre-flight check does not let start."""


class NothingSeen(Exception):
    """Why the first batch cannot be looked at, in words."""


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
        self.is_over = False

    @torch.no_grad()
    def report(self, trainer: Trainer, look: FirstLook) -> Report:
        """Return what is found at the batch so far, on all ranks together; all of them must come here.

        Raises:
            NothingSeen: On all ranks, if it failed on any.
        """
        began = time.perf_counter()
        self.is_over = True
        measured: dict[str, LayerMeasurements] = {}
        ranks = all_ranks(trainer, _found(trainer, look))
        for problem in (rank for rank in ranks if isinstance(rank, str)):
            raise NothingSeen(problem)
        units = ranks[0].units
        for rank in ranks:
            for name, one in rank.measured.items():
                measured[name] = measured[name] + one if name in measured else one
        coverage = list(seen_by_any(rank.coverage for rank in ranks).values())
        facts = RunFacts(
            amp_scaled=units.scaled,
            without_gradient=dict.fromkeys((one.layer for one in coverage), 1),
            frozen=frozen_layers(parameters_of_layers(trainer.lightning_module)),
        )
        seconds = {"step": began - look.began, "measuring": time.perf_counter() - began}
        return replace(judge(measured, coverage, facts), seconds=seconds)

    def cost(self, report: Report, schedule: Schedule) -> str:
        """Return in words what measuring is going to cost."""
        every_n_steps, max_overhead = schedule.every_n_steps, schedule.max_overhead
        step, measuring = report.seconds["step"], report.seconds["measuring"]
        limit = "" if max_overhead is None else f", and intervals stretch to keep to {100 * max_overhead:g}%"
        return (
            f"pre-flight: the first step forward and backward took {step:.2g} s, looking at it {measuring:.2g} s: "
            f"{measuring / (every_n_steps * max(step, 1e-9)):.1%} of training at every {every_n_steps} steps{limit}"
        )

    def refuse(self, report: Report) -> None:
        """Raise `Refused` if the worst finding reaches the configured severity.

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

    measured: dict[str, LayerMeasurements]
    coverage: list[Coverage]
    units: GradientUnits


def _found(trainer: Trainer, look: FirstLook) -> _Found | str:
    """Return what is found on this rank, or what went wrong: all ranks must join the exchange."""
    if look.recording is None:
        return "nothing was recorded"
    try:
        units = gradient_units(trainer)
        measured: dict[str, LayerMeasurements] = {}
        for layer in look.layers:
            for trace in look.recording.calls(layer):
                one = LayerMeasurements.of(trace, units)
                measured[layer] = measured[layer] + one if layer in measured else one
        return _Found(measured, [row for row in look.recording.coverage if row.layer in look.layers], units)
    except Exception as error:
        return in_words(error)
