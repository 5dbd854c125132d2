"""One run of one experiment: its outcome with the pictures drawn, or what went wrong."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field

from rnn_diag.lab.experiment import Check, Experiment, Outcome, one_thread
from rnn_diag.reporting.page.picture import Picture, drawn


@dataclass(frozen=True)
class Attempt:
    """What became of an experiment.

    Attributes:
        name: Of its file and on the command line.
        command: What runs it again.
        experiment: With its settings.
        seconds: How long it took, drawing included.
        outcome: What came out, or None if it failed.
        pictures: Its figures by name.
        error: What went wrong, in one line; empty otherwise.
        stack: Where it went wrong.
    """

    name: str
    command: str
    experiment: Experiment
    seconds: float
    outcome: Outcome | None
    pictures: dict[str, Picture] = field(default_factory=dict)
    error: str = ""
    stack: str = ""

    @property
    def holds(self) -> bool:
        """Whether it ran and theory and measurement agree."""
        return self.outcome is not None and self.outcome.holds

    @property
    def disagreements(self) -> list[Check]:
        """The checks that do not hold."""
        return [] if self.outcome is None else [check for check in self.outcome.checks if not check.holds]

    @property
    def verdict(self) -> str:
        """How it went, in a few words."""
        if self.outcome is None:
            return "failed"
        count, differ = len(self.outcome.checks), len(self.disagreements)
        return f"{count} of {count} checks hold" if not differ else f"{differ} of {count} checks do not hold"


def attempted(name: str, experiment: Experiment, command: str) -> Attempt:
    """Run an experiment and draw its figures; what goes wrong is noted and stops nobody else."""
    start = time.perf_counter()
    try:
        with one_thread():
            outcome = experiment.run()
        pictures = {title: drawn(figure) for title, figure in outcome.figures.items()}
    except Exception as error:
        message = f"{type(error).__name__}: {' '.join(str(error).split())}"
        seconds = time.perf_counter() - start
        return Attempt(name, command, experiment, seconds, None, {}, message, traceback.format_exc())
    return Attempt(name, command, experiment, time.perf_counter() - start, outcome, pictures)
