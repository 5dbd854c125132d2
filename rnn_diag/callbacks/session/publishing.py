"""Where numbers and pictures go: the trainer's callback metrics, every logger once, and TensorBoard's writers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from rnn_diag.callbacks.lightning import writers_of
from rnn_diag.callbacks.session.exchange import described
from rnn_diag.reporting.coverage_table import HEADER, Row
from rnn_diag.reporting.layout import write_layout
from rnn_diag.reporting.tensorboard import write_picture, write_table
from rnn_diag.reporting.verdict import as_markdown, headlines
from rnn_diag.tb.writer import write_cost

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from rnn_diag.callbacks.diagnostic import Diagnostic
    from rnn_diag.callbacks.session.exchange import Findings

GROWTH = 1.5
"""Pictures are drawn again when there are this many times as many measurements: some thirty in a hundred thousand."""

Warn = Callable[[str], None]


class Publisher:
    """Publishes what was measured. What fails here is said once and left out from then on.

    Attributes:
        coverage: The table of layers as they were seen, written once.
        measurements: How many steps were written, which decides when pictures are drawn.
    """

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.coverage: list[Row] = []
        self._diagnostics = diagnostics
        self._undrawable: set[int] = set()
        self._unwritable: set[int] = set()
        self.measurements = 0
        self._next_pictures = 1
        self._undrawn: dict[tuple[int, str], tuple[int, Any]] = {}
        self._latest: dict[str, float] = {}
        self._coverage_is_written = False

    def go_on_from(self, measurements: int) -> None:
        """Draw as rarely as a run that has measured so often."""
        self.measurements = max(self.measurements, measurements)
        self._next_pictures = self.measurements + 1

    def publish(
        self, trainer: Trainer, step: int, merged: Findings, of_the_run: Mapping[str, float], warn: Warn
    ) -> None:
        """Publish what belongs to one step; all ranks come to the same metrics.

        Args:
            trainer: Whose loggers they are.
            step: To which the findings belong.
            merged: The findings of all ranks together.
            of_the_run: Numbers of no layer; empty when findings come late to a step that is published already.
            warn: Told of what fails.
        """
        metrics = dict(of_the_run)
        for (place, layer), value in merged.items():
            diagnostic = self._diagnostics[place]
            try:
                numbers = diagnostic.scalars(layer, value)
            except Exception as error:
                self._leave_out(place, "numbers of", error, warn)
                continue
            metrics |= {f"{diagnostic.name}/{layer}/{statistic}": number for statistic, number in numbers.items()}
        # The property gives out the mapping itself, which stopping, checkpoints and sweeps read.
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in metrics.items()})
        self._log(trainer, metrics, step, warn)
        self._latest |= metrics
        writers = writers_of(trainer)
        if writers:
            self._write(writers, step, merged, warn)
            if of_the_run:
                self._draw_if_time(writers, warn)

    def write_cost(self, trainer: Trainer, step: int, milliseconds: float, share: float) -> None:
        """Write what measuring a step took, for the tab."""
        for writer in writers_of(trainer):
            write_cost(writer, step, milliseconds, share)

    def draw_last(self, trainer: Trainer, warn: Warn) -> None:
        """Draw what was measured since the last pictures."""
        self._draw(writers_of(trainer), warn)

    def _log(self, trainer: Trainer, metrics: dict[str, float], step: int, warn: Warn) -> None:
        for place, logger in enumerate(trainer.loggers):
            if metrics and place not in self._unwritable:
                try:
                    logger.log_metrics(dict(metrics), step=step)
                except Exception as error:
                    self._unwritable.add(place)
                    warn(f"{type(logger).__name__} gets no numbers any more: {described(error)}")

    def _write(self, writers: list[Any], step: int, merged: Findings, warn: Warn) -> None:
        if not self._coverage_is_written and self.coverage:
            self._coverage_is_written = True
            for writer in writers:
                write_table(writer, "rnn_diag/coverage", HEADER, [row.cells for row in self.coverage], step)
                write_layout(writer, [row.layer for row in self.coverage if row.diagnostics])
        for (place, layer), value in merged.items():
            if place in self._undrawable:
                continue
            try:
                self._diagnostics[place].keep(layer, value, step)
                for writer in writers:
                    self._diagnostics[place].write(layer, value, writer, step)
                self._undrawn[place, layer] = step, value
            except Exception as error:
                self._leave_out(place, "pictures of", error, warn)

    def _draw_if_time(self, writers: list[Any], warn: Warn) -> None:
        self.measurements += 1
        if self.measurements >= self._next_pictures:
            self._next_pictures = max(self.measurements + 1, math.ceil(self.measurements * GROWTH))
            self._draw(writers, warn)

    def _draw(self, writers: list[Any], warn: Warn) -> None:
        undrawn, self._undrawn = self._undrawn, {}
        self._say(writers, max((step for step, _ in undrawn.values()), default=None))
        for (place, layer), (step, value) in undrawn.items():
            diagnostic = self._diagnostics[place]
            if not writers or place in self._undrawable:
                continue
            try:
                for name, pixels in diagnostic.draw(layer, value).items():
                    for writer in writers:
                        write_picture(writer, f"{diagnostic.name}/{layer}/{name}", pixels, step)
            except Exception as error:
                self._leave_out(place, "pictures of", error, warn)

    def _say(self, writers: list[Any], step: int | None) -> None:
        """Write the headlines in words, unless the doctor does it better."""
        statements = headlines(self._latest)
        if step is not None and statements and all(one.name != "doctor" for one in self._diagnostics):
            for writer in writers:
                writer.add_text("rnn_diag/verdict", as_markdown(statements), step)

    def _leave_out(self, place: int, what: str, error: Exception, warn: Warn) -> None:
        if place not in self._undrawable:
            self._undrawable.add(place)
            warn(f"{what} {self._diagnostics[place].name} are left out: {described(error)}")
