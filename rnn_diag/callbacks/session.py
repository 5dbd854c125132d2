"""One fit as all diagnostics of a trainer see it: one recording, one exchange between ranks, one write per step."""

from __future__ import annotations

import glob
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rnn_diag.callbacks.framework import GradientUnits, all_ranks, gradient_units, logging_step
from rnn_diag.callbacks.overhead import Overhead
from rnn_diag.callbacks.publication import Publication
from rnn_diag.capture import Coverage, Recording
from rnn_diag.reporting.coverage import Row, print_coverage

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

    from rnn_diag.callbacks.diagnostic import Diagnostic


class DiagnosticWarning(UserWarning):
    """Something could not be measured, and training goes on."""


@dataclass
class MeasuredStep:
    """A training step that is being measured.

    Attributes:
        step: Under which its numbers will be filed.
        due: Places of the diagnostics that measure.
        recording: What is recorded; None where that failed.
        units: Of the gradients of every backward pass so far.
        problems: What went wrong, by the place of the diagnostic.
    """

    step: int
    due: list[int]
    recording: Recording | None = None
    units: list[GradientUnits] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)

    def fail(self, error: BaseException) -> None:
        """Note an error that concerns all."""
        self.problems |= dict.fromkeys(self.due, described(error))


class Session:
    """Drives the diagnostics through one fit; none of their errors leaves it.

    Whether a step is measured is decided by the step and by what all ranks have agreed on, so that all of them come to
    the exchange or none.

    Raises:
        ValueError: If a diagnostic's pattern matches no layer.
    """

    def __init__(self, diagnostics: Iterable[Diagnostic], model: nn.Module) -> None:
        self._diagnostics = list(diagnostics)
        self._model = model
        self._found: list[Coverage] = Recording(model).coverage
        self._names = [Recording(model, layers=diagnostic.layers).names for diagnostic in self._diagnostics]
        self._disabled = {place for place, names in enumerate(self._names) if not names}
        self._last_step = -1
        self._current: MeasuredStep | None = None
        self._doubtful: set[str] = set()
        self._speaks = True
        self._overhead = Overhead()
        self._publication = Publication(self._diagnostics)
        for diagnostic in self._diagnostics:
            diagnostic.forget()

    def announce(self, trainer: Trainer) -> None:
        """Print which layers there are, how they are seen, and under which tags."""
        self._speaks = trainer.is_global_zero
        if self._found and self._speaks:
            print_coverage([self._row(coverage, "at its every call") for coverage in self._found])
        if not any(self._names):
            self._warn("no recurrent layer was found, so nothing is measured")

    def batch_starts(self, trainer: Trainer) -> None:
        """Begin to record, if anything is due; of accumulated batches only the first is measured."""
        self.abandon()
        with self._overhead.measuring():
            step = logging_step(trainer)
            enabled = [pair for pair in enumerate(self._diagnostics) if pair[0] not in self._disabled]
            due = [place for place, diagnostic in enabled if step % diagnostic.every_n_steps == 0]
            if not due or step == self._last_step:
                return
            self._last_step = step
            self._current = MeasuredStep(step, due)
            try:
                self._current.recording = self._new_recording(due).start()
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
        percent = self._overhead.percent
        with self._overhead.measuring(), torch.no_grad():
            found = self._measured(current, trainer)
            ranks = all_ranks(trainer, (found, current.problems, percent))
            problems = {place: reason for rank in ranks for place, reason in rank[1].items()}
            merged = self._merged(problems, [rank[0] for rank in ranks])
            self._disable(problems)
            overhead = max(rank[2] for rank in ranks)
            self._publish(trainer, current.step, merged, overhead)

    def draw_last(self, trainer: Trainer) -> None:
        """Draw what was measured since the last pictures."""
        try:
            self._publication.draw_last(trainer, self._warn)
        except Exception as error:
            self._warn(f"the last pictures are left out: {described(error)}")

    def abandon(self) -> None:
        """Let go of a step that will not end."""
        current, self._current = self._current, None
        if current is not None and current.recording is not None:
            current.recording.stop()

    def _new_recording(self, due: list[int]) -> Recording:
        wanted = [self._diagnostics[place].sequences for place in due]
        sequences = None if None in wanted else max(number for number in wanted if number is not None)
        names = {name for place in due for name in self._names[place]}
        return Recording(self._model, sequences, sorted(map(glob.escape, names)))

    def _measured(self, current: MeasuredStep, trainer: Trainer) -> dict[tuple[int, str], Any]:
        """Return what the diagnostics found on this rank, by their place and the layer."""
        found: dict[tuple[int, str], Any] = {}
        if current.recording is None:
            return found
        try:
            current.recording.stop()
            self._say_what_is_not_followed(current.recording)
        except Exception as error:
            current.fail(error)
            return found
        for place in current.due:
            diagnostic = self._diagnostics[place]
            if diagnostic.of_weights and not trainer.is_global_zero:
                continue
            try:
                for layer in self._names[place]:
                    for part in self._parts(diagnostic, layer, current):
                        found[place, layer] = found[place, layer] + part if (place, layer) in found else part
            except Exception as error:
                current.problems[place] = described(error)
        return found

    def _parts(self, diagnostic: Diagnostic, layer: str, current: MeasuredStep) -> Iterable[Any]:
        """Yield what a diagnostic finds in each call of a layer."""
        assert current.recording is not None
        units = current.units[0] if current.units else GradientUnits(float("nan"), False)
        traces = current.recording.calls(layer)
        for trace in traces[:1] if diagnostic.of_weights else traces:
            if diagnostic.needs_gradients:
                if not trace.has_gradients or len(set(current.units)) > 1:  # the scale changed between backward passes
                    continue
                if trace.fidelity is not None and trace.fidelity > trace.tolerance:
                    self._warn_of_layer(layer, f"its gradients are not shown: {trace!r}")
                    continue
            yield diagnostic.measure(trace, units)

    def _merged(self, problems: dict[int, str], ranks: list[dict[tuple[int, str], Any]]) -> dict[tuple[int, str], Any]:
        """Return the ranks' findings together; of a diagnostic that failed on any of them, nothing."""
        merged: dict[tuple[int, str], Any] = {}
        for key in sorted({key for found in ranks for key in found}):
            parts = [found[key] for found in ranks if key in found]
            try:
                merged[key] = reduce(add, parts)
            except Exception as error:
                problems[key[0]] = described(error)
        return {key: value for key, value in merged.items() if key[0] not in problems}

    def _publish(self, trainer: Trainer, step: int, merged: dict[tuple[int, str], Any], overhead: float) -> None:
        try:
            self._publication.publish(trainer, step, merged, overhead, self._warn)
        except Exception as error:
            self._warn_of_layer("publishing", described(error))

    def _disable(self, problems: dict[int, str]) -> None:
        for place, reason in problems.items():
            self._disabled.add(place)
            self._warn(f"{self._diagnostics[place].name} is switched off: {reason}")

    def _say_what_is_not_followed(self, recording: Recording) -> None:
        for coverage in recording.coverage:
            if coverage.status in ("partial", "not followed") and coverage.layer in recording.names:
                self._warn_of_layer(coverage.layer, f"{coverage.status}: {coverage.reason}")
        self._publication.coverage = [self._row(coverage, coverage.status) for coverage in self._seen(recording)]

    def _seen(self, recording: Recording) -> list[Coverage]:
        now = {coverage.layer: coverage for coverage in recording.coverage}
        return [now.get(coverage.layer, coverage) for coverage in self._found]

    def _row(self, coverage: Coverage, captured: str) -> Row:
        diagnostics = [
            d.name for d, names in zip(self._diagnostics, self._names, strict=True) if coverage.layer in names
        ]
        if coverage.status != "never ran":
            captured = f"{coverage.status}: {coverage.reason}"
        tags = f"{{{','.join(dict.fromkeys(diagnostics))}}}/{coverage.layer}/*" if diagnostics else ""
        return Row(coverage.layer, coverage.module_type, captured, tags)

    def _warn_of_layer(self, layer: str, reason: str) -> None:
        if layer not in self._doubtful:
            self._doubtful.add(layer)
            self._warn(f"{layer}: {reason}")

    def _warn(self, message: str) -> None:
        if self._speaks:
            warnings.warn(f"rnn_diag: {message}", DiagnosticWarning, stacklevel=3)


def described(error: BaseException) -> str:
    """Return an error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
