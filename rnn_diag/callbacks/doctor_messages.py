"""Where the doctor's findings go: warnings, TensorBoard, the console and a file; from rank zero alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fsspec.core import url_to_fs

from rnn_diag.callbacks.lightning import run_folder, writers_of
from rnn_diag.callbacks.session.publishing import heads, statements
from rnn_diag.callbacks.session.warnings import in_words, warn
from rnn_diag.doctor.finding import Finding, Severity, alike, ways_of
from rnn_diag.doctor.history import Episode, RunHistory
from rnn_diag.doctor.report import Report, findings_table
from rnn_diag.reporting.markdown import as_markdown
from rnn_diag.terminal import Console, Text

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

FILE = "doctor.json"

LINES = 5
"""Findings that are printed at the end, a line each; the file has all."""


class DoctorMessages:
    """Tells what the doctor found, each thing once.

    Args:
        verbose: Whether a table with every number is printed at the end, rather than a few lines.
    """

    def __init__(self, verbose: bool = False) -> None:
        self._file = ""
        self._verbose = verbose
        self._said: list[tuple[str, str, str]] | None = None
        self._shown: set[tuple[str, str, Severity]] = set()

    def warn(self, trainer: Trainer, message: str) -> None:
        """Say something in one line, which names no line of code: none of the user's has to do with it."""
        if trainer.is_global_zero:
            warn(message)

    def changes(self, trainer: Trainer, changed: Sequence[Finding], step: int) -> None:
        """Say what came up or got worse, from a warning on, unless a whole report has just said it."""
        news = [one for one in changed if one.severity >= Severity.WARNING and _identity(one) not in self._shown]
        for first, *others in alike(news):
            also = f" (also at {', '.join(one.layer for one in others)})" if others else ""
            advice = _advice((first, *others))
            self.warn(trainer, f"step {step}: {first.headline}{also}{advice}")

    def to_tensorboard(self, trainer: Trainer, history: RunHistory) -> None:
        """Write all findings as they stand, if they say other than those written last."""
        said = statements(history.standing)
        if history.report is None or heads(said) == self._said:
            return
        self._said = heads(said)
        text = as_markdown(said, history.report.nothing_wrong)
        try:
            for writer in writers_of(trainer):
                writer.add_text("doctor/findings", text, history.step)
        except Exception as error:
            self.warn(trainer, f"the findings of step {history.step} are not in TensorBoard: {in_words(error)}")

    def show(self, trainer: Trainer, report: Report) -> None:
        """Print a whole report."""
        self._shown = set(map(_identity, report.findings))
        if trainer.is_global_zero:
            Console().print(report)

    def close(self, trainer: Trainer, history: RunHistory) -> None:
        """Print what was found in a run, and write its file."""
        if history.report is None or not trainer.is_global_zero:
            return
        console, title = Console(), f"What the doctor found at step {history.step}"
        lines = [f"over after step {one.last_step}: {one.worst.summary}" for one in _grave(history.past)]
        if history.standing and self._verbose:
            console.print(findings_table(history.standing, title))
        elif history.standing:
            lines = [title, *_shortened([*_lines(history), *lines])]
        else:
            console.print(Text(history.report.nothing_wrong))
        for line in lines:
            console.print(Text(line), soft_wrap=True)
        file = self.write(trainer, history)
        if file:
            console.print(Text(f"all of it, with every number: {file}"), soft_wrap=True)

    def write(self, trainer: Trainer, history: RunHistory) -> str:
        """Write the file of a run; return where, or nothing where there is none."""
        if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
            return ""
        try:
            self._file = self._file or f"{run_folder(trainer)}/{FILE}"
            system, path = url_to_fs(self._file)
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            system.write_text(path, history.to_json())
        except Exception as error:
            self.warn(trainer, f"{FILE} is not written: {in_words(error)}")
            return ""
        return self._file.removeprefix("file://")


def _grave(episodes: Iterable[Episode]) -> list[Episode]:
    return [one for one in episodes if one.worst.severity >= Severity.WARNING]


def _lines(history: RunHistory) -> list[str]:
    """Return one line for all findings that differ in layer and numbers alone: where, since when, what, what to try."""
    lines = []
    for first, *others in alike(history.standing):
        where = ", ".join(one.layer for one in (first, *others))
        since = min(history.since(one) for one in (first, *others))
        whose = f"{first.layer}: " if any(one.meaning != first.meaning for one in others) else ""
        said = f"{first.id}: {whose}{first.meaning}{_advice((first, *others))}"
        lines.append(f"{first.severity} at {where} since step {since}: {said}")
    return lines


def _advice(group: Sequence[Finding]) -> str:
    words = f"{group[0].remedy} {ways_of(group)}".strip()
    return f" Try: {words}" if words else ""


def _shortened(lines: Sequence[str]) -> list[str]:
    more = len(lines) - LINES
    return [*lines[:LINES], *([f"and {more} more"] if more > 0 else [])]


def _identity(finding: Finding) -> tuple[str, str, Severity]:
    return finding.layer, finding.id, finding.severity
