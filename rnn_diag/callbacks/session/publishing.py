"""Where numbers and pictures go: the trainer's callback metrics, every logger once, and TensorBoard's writers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from time import thread_time
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from rnn_diag.callbacks.concern import Concern
from rnn_diag.callbacks.lightning import log_numbers, trains_on_cpu, writers_of
from rnn_diag.callbacks.session.elsewhere import Elsewhere
from rnn_diag.callbacks.session.pace import Pace
from rnn_diag.callbacks.session.thinning import FULL, Thinning
from rnn_diag.callbacks.session.warnings import Warnings, in_words
from rnn_diag.callbacks.session.worker import Worker
from rnn_diag.doctor.finding import Finding
from rnn_diag.doctor.history import RunHistory
from rnn_diag.reporting.coverage_table import HEADER, Row
from rnn_diag.reporting.layout import write_layout
from rnn_diag.reporting.markdown import Statement, as_markdown
from rnn_diag.reporting.tensorboard import write_picture, write_table
from rnn_diag.tb.kinds import write_cost, write_verdict

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

GROWTH = 2
"""Pictures are drawn again when there are this many times as many measurements: 17 times in a hundred thousand."""

Measured = Mapping[Concern, Mapping[str, Any]]
"""What was measured for each concern, by layer."""


class _Picture(NamedTuple):
    """What is needed to draw the pictures of one layer."""

    concern: Concern
    drawn_by: Concern
    layer: str
    step: int
    value: Any


class _Done(NamedTuple):
    """What the background has done for a concern: pictures by tag and the seconds they took, or why there are none."""

    concern: Concern
    step: int = 0
    pictures: Mapping[str, Any] = {}
    seconds: float = 0.0
    error: Exception | None = None


class Publisher:
    """Publishes what was measured. What fails here is said once and left out from then on.

    Args:
        concerns: Whose numbers are published.
        warnings: Told of what fails.
        pace: Says when there is time for a picture.
        worker: Writes and draws while training continues.

    Attributes:
        coverage: The table of layers as they were seen, written once.
        measurements: How many steps were written, which decides when pictures are drawn.
    """

    def __init__(self, concerns: Iterable[Concern], warnings: Warnings, pace: Pace, worker: Worker[Any]) -> None:
        self.coverage: list[Row] = []
        self.measurements = 0
        self._statistics = {one.name: one.statistics for one in concerns if one.statistics}
        self._warnings = warnings
        self._pace = pace
        self._worker = worker
        self._done: deque[_Done] = deque()  # which the background adds to while it is read
        self._elsewhere = Elsewhere(warnings)
        self._left_out: set[Concern] = set()
        self._deaf: set[int] = set()
        # Of a single step there is little to see, and the first measured one costs most as it is.
        self._next_pictures = 1 if pace.max_overhead is None else 2
        self._undrawn: dict[tuple[Concern, str], tuple[int, Any]] = {}
        self._thinning = Thinning()
        self._unwritten: dict[tuple[Concern, str], tuple[int, Any]] = {}
        self._is_chosen = True
        self._verdicts = 0
        self._unsaid: RunHistory | None = None
        self._waiting: dict[tuple[Concern, str], None] = {}
        self._said: list[tuple[str, str, str]] | None = None
        self._coverage_is_written = False

    def resume(self, measurements: int) -> None:
        """Resume the picture schedule after this many measured steps."""
        self.measurements = max(self.measurements, measurements)
        self._next_pictures = self.measurements + 1
        self._thinning.measured = max(self._thinning.measured, measurements)

    def publish(self, trainer: Trainer, step: int, measured: Measured, of_the_run: Mapping[str, float]) -> None:
        """Publish what belongs to one step; all ranks arrive at the same metrics.

        Args:
            trainer: Whose loggers they are.
            step: To which the measurements belong.
            measured: The measurements of all ranks together.
            of_the_run: Numbers of no layer; empty when measurements come late to a step that is published already.
        """
        metrics = dict(of_the_run)
        for concern, layers in measured.items():
            for layer, value in layers.items():
                try:
                    numbers = concern.scalars(layer, value)
                    metrics |= {f"{concern.name}/{layer}/{name}": float(number) for name, number in numbers.items()}
                except Exception as error:
                    self._leave_out(concern, "numbers of", error)
        self.show(trainer, metrics)
        self._log(trainer, metrics, step)
        self._hear_background(trainer)
        if of_the_run:
            self._is_chosen = self._thinning.chooses(
                {name: metrics[name] for name in metrics.keys() - of_the_run.keys()}
            )
        writers, is_idle = writers_of(trainer), self._worker.is_idle
        if writers or self._elsewhere.listens(trainer):
            self._write(writers, step, measured)
            if of_the_run:
                self._draw_if_time(writers, is_idle)

    def show(self, trainer: Trainer, metrics: Mapping[str, float]) -> None:
        """Put numbers into the trainer's callback metrics alone."""
        # The property gives out the mapping itself, which stopping, checkpoints and sweeps read.
        values = torch.tensor(list(metrics.values())).unbind()
        trainer.callback_metrics.update(zip(metrics, values, strict=True))

    def write_verdict(self, trainer: Trainer, history: RunHistory, in_any_case: bool = False) -> None:
        """Write the findings as they stand, for the tab and the Text tab, if they say other than those last written.

        Args:
            trainer: Whose loggers they are.
            history: The run as the doctor sees it.
            in_any_case: Whether to write a verdict of many, too, at a step that is not written in full.
        """
        said, self._unsaid = statements(history.standing), None
        if history.report is None or heads(said) == self._said:
            return
        if self._verdicts >= FULL and not (self._is_chosen or in_any_case):
            self._unsaid = history
            return
        self._said = heads(said)
        self._verdicts += 1
        try:
            for writer in writers_of(trainer):
                write_verdict(writer, history.step, [_for_the_tab(one) for one in said])
                writer.add_text("rnn_diag/verdict", as_markdown(said, history.report.nothing_wrong), history.step)
        except Exception as error:
            self._warnings.warn_once("the verdict is not written", in_words(error))
        self._elsewhere.tell(trainer, said, history.report.nothing_wrong, history.step)

    def write_cost(self, trainer: Trainer, step: int, milliseconds: float, share: float) -> None:
        """Write what measuring a step took, for the tab, as rarely as series."""
        for writer in writers_of(trainer) if self._is_chosen else ():
            write_cost(writer, step, milliseconds, share)

    def draw_last(self, trainer: Trainer) -> None:
        """Finish what the background has to write, and draw what was measured since the last pictures."""
        if self._unsaid is not None:
            self.write_verdict(trainer, self._unsaid, in_any_case=True)
        writers = writers_of(trainer)
        self._write_series(writers)
        self._hear_background(trainer, in_any_case=True)
        for concern, layer in list(self._undrawn):
            self._draw(writers, [self._picture(concern, layer)])
        self._hear_background(trainer, in_any_case=True)

    def _log(self, trainer: Trainer, metrics: dict[str, float], step: int) -> None:
        for logger in trainer.loggers:
            if metrics and id(logger) not in self._deaf:
                try:
                    log_numbers(logger, metrics, step)
                except Exception as error:
                    self._deaf.add(id(logger))
                    self._warnings.warn(f"{type(logger).__name__} gets no numbers any more: {in_words(error)}")

    def _write(self, writers: list[Any], step: int, measured: Measured) -> None:
        if not self._coverage_is_written and self.coverage:
            self._coverage_is_written = True
            for writer in writers:
                write_table(writer, "rnn_diag/coverage", HEADER, [row.cells for row in self.coverage], step)
                write_layout(writer, [row.layer for row in self.coverage if row.diagnostics], self._statistics)
        for concern, layers in measured.items():
            for layer, value in layers.items():
                if concern not in self._left_out:
                    try:
                        concern.keep(layer, value, step)
                        self._unwritten[concern, layer] = self._undrawn[concern, layer] = step, value
                    except Exception as error:
                        self._leave_out(concern, "pictures of", error)
        if self._is_chosen:
            self._write_series(writers)

    def _write_series(self, writers: list[Any]) -> None:
        """Write in the background what was not written yet."""
        texts, self._unwritten = self._unwritten, {}
        if texts and writers:
            self._worker.run(lambda: self._write_all(texts, writers))

    def _write_all(self, texts: Mapping[tuple[Concern, str], tuple[int, Any]], writers: list[Any]) -> None:
        """Write what TensorBoard gets besides scalars; in the background."""
        for (concern, layer), (step, value) in texts.items():
            try:
                for writer in writers:
                    concern.write(layer, value, writer, step)
            except Exception as error:
                self._done.append(_Done(concern, error=error))

    def _draw_if_time(self, writers: list[Any], is_idle: bool) -> None:
        """Draw in the background, if it had nothing else to do, what was measured since the last pictures."""
        self.measurements += 1
        if self.measurements >= self._next_pictures:
            self._next_pictures = max(self.measurements + 1, math.ceil(self.measurements * GROWTH))
            self._waiting |= dict.fromkeys(self._undrawn)
        at_all_costs = self._pace.max_overhead is None
        if self._waiting and (at_all_costs or (is_idle and self._pace.may_draw())):
            chosen = list(self._waiting) if at_all_costs else [next(iter(self._waiting))]
            pictures = [self._picture(*one) for one in chosen]
            self._worker.run(lambda: self._draw(writers, pictures))

    def _picture(self, concern: Concern, layer: str) -> _Picture:
        """Return what is needed to draw what was measured last, as it is now."""
        step, value = self._undrawn.pop((concern, layer))
        self._waiting.pop((concern, layer), None)
        return _Picture(concern, concern.as_it_is(), layer, step, value)

    def _draw(self, writers: list[Any], pictures: Iterable[_Picture]) -> None:
        """Draw pictures; in the background, but for the last."""
        for one in pictures:
            if one.concern not in self._left_out:
                began, drawn = thread_time(), {}
                try:
                    for name, pixels in one.drawn_by.draw(one.layer, one.value).items():
                        tag = f"{one.concern.name}/{one.layer}/{name}"
                        for writer in writers:
                            write_picture(writer, tag, pixels, one.step)
                        drawn[tag] = pixels
                    self._done.append(_Done(one.concern, one.step, drawn, thread_time() - began))
                except Exception as error:
                    self._done.append(_Done(one.concern, error=error))

    def _hear_background(self, trainer: Trainer, in_any_case: bool = False) -> None:
        """Take note of what the background has done: what failed, what it cost, and pictures for other loggers."""
        seconds = self._worker.done(in_any_case)
        while self._done:
            one = self._done.popleft()
            if one.error is not None:
                self._leave_out(one.concern, "pictures of", one.error)
            for tag, pixels in one.pictures.items():
                self._elsewhere.show(trainer, tag, pixels, one.step)
            if one.pictures:
                self._pace.drew(one.seconds)
                seconds -= one.seconds
        if trains_on_cpu(trainer):
            self._pace.add_background(max(0.0, seconds))

    def _leave_out(self, concern: Concern, what: str, error: Exception) -> None:
        reason = in_words(error)
        if concern not in self._left_out:
            self._left_out.add(concern)
            self._warnings.warn(f"{what} {concern.name} are left out: {reason}")


def statements(findings: Iterable[Finding]) -> list[Statement]:
    """Return findings as Markdown takes them."""
    return [
        Statement(
            str(one.severity), one.layer, f"{one.id}: {one.meaning}", "; ".join(map(str, one.evidence)), one.advice
        )
        for one in findings
    ]


def heads(said: Iterable[Statement]) -> list[tuple[str, str, str]]:
    """Return what findings say in their first sentence: when that changes, they are written anew."""
    return [(one.severity, one.layer, one.title) for one in said]


def _for_the_tab(statement: Statement) -> dict[str, str]:
    severity, layer, title, evidence, advice = statement
    return {"severity": severity, "layer": layer, "title": title, "evidence": evidence, "advice": advice}
