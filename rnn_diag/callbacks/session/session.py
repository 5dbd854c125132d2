"""One fit as all diagnostics of a trainer see it: one recording, one exchange between ranks, one write per step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rnn_diag.callbacks.lightning import all_ranks, gradient_units, logging_step, say, settle, trains_on_cpu
from rnn_diag.callbacks.session.exchange import Completed, Findings, MeasuredStep, Report, described, merged
from rnn_diag.callbacks.session.measuring import Measurer
from rnn_diag.callbacks.session.pace import Cadence, Overhead
from rnn_diag.callbacks.session.plan import Plan
from rnn_diag.callbacks.session.publishing import Publisher
from rnn_diag.callbacks.session.warnings import Notices
from rnn_diag.callbacks.session.worker import Worker
from rnn_diag.reporting.coverage_table import Row

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from rnn_diag.callbacks.diagnostic import Diagnostic


class Session:
    """Drives the diagnostics through one fit; none of their errors leaves it.

    Whether a step is measured is decided by the step and by what all ranks have agreed on, so that all of them come to
    the exchange or none.

    Raises:
        ValueError: If a diagnostic's pattern matches no layer.
    """

    def __init__(self, diagnostics: Iterable[Diagnostic], model: nn.Module) -> None:
        self._diagnostics = list(diagnostics)
        self._assignment = Plan(self._diagnostics, model)
        self._disabled = {place for place, names in enumerate(self._assignment.names) if not names}
        self._last_step = -1
        self._current: MeasuredStep | None = None
        limits = [limit for d in self._diagnostics if (limit := d.max_overhead) is not None]
        self._cadence = Cadence(min(limits, default=None))
        self._overhead = Overhead()
        self._window = self._overhead.read()
        self._uncosted: MeasuredStep | None = None
        self._notices = Notices()
        self._worker: Worker[Completed] = Worker()
        self._measurer = Measurer(self._diagnostics, self._assignment.names, self._worker, self._notices)
        self._publication = Publisher(self._diagnostics)
        for diagnostic in self._diagnostics:
            diagnostic.forget()

    @property
    def progress(self) -> dict[str, int]:
        """How far this fit has come, in plain numbers."""
        return {
            "stretch": self._cadence.stretch,
            "drawn": self._publication.measurements,
        }

    def resume(self, diagnostics: Iterable[Diagnostic], state: Mapping[str, Any]) -> None:
        """Go on from the state of some of the diagnostics, which another fit left."""
        try:
            for diagnostic, history in zip(diagnostics, state.get("histories", ()), strict=False):
                diagnostic.resume(history)
            progress = state.get("progress", {})
            self._cadence.stretch = max(self._cadence.stretch, progress.get("stretch", 1))
            self._publication.go_on_from(progress.get("drawn", 0))
        except Exception as error:
            self._notices.warn(f"what was measured before is left out: {described(error)}")

    @property
    def coverage(self) -> list[Row]:
        """The table of layers as they were last seen."""
        return self._publication.coverage

    @property
    def current(self) -> MeasuredStep | None:
        """The step that is being measured; None, on all ranks alike, where nothing is due."""
        return self._current

    def announce(self, trainer: Trainer) -> None:
        """Print which layers there are, how they are seen, and under which tags."""
        self._notices.speaks = trainer.is_global_zero
        if trainer.is_global_zero:
            self._assignment.announce()
        if self._assignment.nothing_measured:
            self._notices.warn(self._assignment.nothing_measured)

    def batch_starts(self, trainer: Trainer) -> None:
        """Begin to record, if anything is due; of accumulated batches only the first is measured."""
        self.abandon()
        with self._overhead.measuring():
            step = logging_step(trainer)
            enabled = (place for place in range(len(self._diagnostics)) if place not in self._disabled)
            due = [place for place in enabled if step % self._interval(self._diagnostics[place]) == 0]
            if not due or step == self._last_step:
                return
            self._last_step = step
            self._current = MeasuredStep(step, due, self._overhead.read().spent)
            try:
                self._current.recording = self._assignment.recording(due).start()
            except Exception as error:
                self._current.fail(error)

    def backward_ends(self, trainer: Trainer) -> None:
        """Note the units of the gradients while they hold; manual optimisation may go on to another backward pass."""
        current = self._current
        if current is None or current.recording is None:
            return
        with self._overhead.measuring():
            try:
                current.units.append(gradient_units(trainer))
                if trainer.lightning_module.automatic_optimization:
                    current.recording.stop()
            except Exception as error:
                current.fail(error)

    def batch_ends(self, trainer: Trainer) -> None:
        """Measure, merge what all ranks found, and publish it."""
        current, self._current = self._current, None
        if current is None:
            return
        settle(trainer)
        now = self._overhead.read()
        report = Report(
            overhead=self._overhead.share, recent=now.share_since(self._window), seconds=self._overhead.seconds
        )
        with self._overhead.measuring(), torch.no_grad():
            report.completed = self._completed(trainer, in_any_case=self._cadence.max_overhead is None)
            report.found = self._measured(current, trainer)
            report.problems = current.problems
            ranks = all_ranks(trainer, report)
            self._publish_completed(trainer, ranks)
            found = self._agreed([rank.problems for rank in ranks], [rank.found for rank in ranks])
            if self._cadence.decide(max(rank.recent for rank in ranks), max(rank.seconds for rank in ranks)):
                self._window = now
            self._say_how_often()
            self._publish(trainer, current.step, found, self._of_the_run(ranks))
            self._publish_cost(trainer, current.spent)
            self._uncosted = MeasuredStep(current.step, [], current.spent)

    def end(self, trainer: Trainer) -> None:
        """Publish what is still being computed, which all ranks wait for, and draw what was measured since."""
        if any(diagnostic.of_weights for diagnostic in self._diagnostics) and self._last_step >= 0:
            ranks = all_ranks(trainer, Report(completed=self._completed(trainer, in_any_case=True)))
            self._publish_completed(trainer, ranks)
        self._publish_cost(trainer, self._overhead.read().spent)
        try:
            self._publication.draw_last(trainer, self._notices.warn)
        except Exception as error:
            self._notices.warn(f"the last pictures are left out: {described(error)}")

    def abandon(self) -> None:
        """Let go of a step that will not end."""
        current, self._current = self._current, None
        if current is not None and current.recording is not None:
            current.recording.stop()

    def close(self) -> None:
        """Let go of everything."""
        self.abandon()
        self._worker.close()

    def _interval(self, diagnostic: Diagnostic) -> int:
        return diagnostic.every_n_steps * (1 if diagnostic.max_overhead is None else self._cadence.stretch)

    def _measured(self, current: MeasuredStep, trainer: Trainer) -> Findings:
        """Return what this rank finds."""
        found = self._measurer.findings(current, weights_too=trainer.is_global_zero and self._may_compute(trainer))
        self._publication.coverage = self._assignment.rows(current.coverage)
        return found

    def _may_compute(self, trainer: Trainer) -> bool:
        """Return whether the thread may begin: on a CPU it may take half of the share that measuring may take."""
        limit = self._cadence.max_overhead
        if limit is None or not trains_on_cpu(trainer) or not self._cadence.is_warm(self._overhead.seconds):
            return True
        return self._worker.has_rested(limit / 2)

    def _completed(self, trainer: Trainer, in_any_case: bool) -> Completed | None:
        """Return what the thread has completed; on a CPU the time that it took was taken from training."""
        completed = self._worker.take(in_any_case)
        if completed is not None and trains_on_cpu(trainer):
            self._overhead.beside(self._worker.seconds)
        return completed

    def _agreed(self, problems: Iterable[dict[int, str]], found: list[Findings]) -> Findings:
        """Return the ranks' findings together; switch off, on all of them, what failed on any."""
        together = {place: reason for rank in problems for place, reason in rank.items()}
        agreed = merged(together, found)
        for place, reason in together.items():
            if place not in self._disabled:
                self._disabled.add(place)
                self._notices.warn(f"{self._diagnostics[place].name} is switched off: {reason}")
        return agreed

    def _publish_completed(self, trainer: Trainer, ranks: list[Report]) -> None:
        for completed in (rank.completed for rank in ranks if rank.completed is not None):
            found = self._agreed([completed.problems], [completed.found])
            self._publish(trainer, completed.step, found, {})

    def _publish(self, trainer: Trainer, step: int, found: Findings, of_the_run: dict[str, float]) -> None:
        try:
            self._publication.publish(trainer, step, found, of_the_run, self._notices.warn)
        except Exception as error:
            self._notices.warn_once("what was measured is not all written", described(error))

    def _publish_cost(self, trainer: Trainer, spent: float) -> None:
        """Write what the step before took, once it is known."""
        step = self._uncosted
        if step is not None:
            try:
                self._publication.write_cost(trainer, step.step, 1000 * (spent - step.spent), self._overhead.share)
            except Exception as error:
                self._notices.warn_once("what measuring took is not written", described(error))

    def _of_the_run(self, ranks: list[Report]) -> dict[str, float]:
        enabled = [d for place, d in enumerate(self._diagnostics) if place not in self._disabled]
        return {
            "rnn_diag/overhead": 100 * max(rank.overhead for rank in ranks),
            "rnn_diag/every_n_steps": float(min(map(self._interval, enabled), default=0)),
        }

    def _say_how_often(self) -> None:
        if self._cadence.says_so and self._cadence.max_overhead is not None and self._notices.speaks:
            say(
                f"rnn_diag: measuring took more than {100 * self._cadence.max_overhead:g}% of the training time; "
                f"intervals are {self._cadence.stretch} times as long from now on, or longer (rnn_diag/every_n_steps)"
            )
