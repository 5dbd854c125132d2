"""When the doctor looks at a network, and where its findings go: the log, the metrics, a table and a file."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch
from rich.console import Console

from rnn_diag.callbacks.clipping import clip_factor
from rnn_diag.callbacks.diagnostic import Diagnostic, DiagnosticCallback
from rnn_diag.callbacks.framework import GradientUnits, logging_step, writers_of
from rnn_diag.callbacks.measured_step import described
from rnn_diag.callbacks.notices import DiagnosticWarning
from rnn_diag.capture import Recording
from rnn_diag.doctor.case import Case
from rnn_diag.doctor.examine import clip_facts, with_coverage
from rnn_diag.doctor.finding import Finding, Severity
from rnn_diag.doctor.report import Report, findings_table
from rnn_diag.doctor.rules import WORDS, findings_of
from rnn_diag.doctor.tally import Tally
from rnn_diag.doctor.vitals import Vitals
from rnn_diag.reporting.verdict import Statement, as_markdown
from rnn_diag.tb.writer import write_verdict
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

FILE = "doctor.json"


@final
class Doctor(Diagnostic):
    """Says in words what is wrong with the recurrent layers while they train, and what to try first.

    It looks first at the first batch, so that a bad start is known at once. A finding is told in one line when it comes
    up or gets worse: as a `DiagnosticWarning` from "warning" on. At the end there is a table, and `doctor.json` in the
    run's folder (the logger's, or else `default_root_dir`), which `rnn_diag.compare` reads.

    Scalars, at every measured step:

    - `doctor/<layer>/severity`: of the worst finding there: 0 info or none, 1 advice, 2 warning, 3 critical.

    In the trainer's callback metrics, for early stopping, checkpoints and sweeps:

    - `doctor/severity`: of the worst finding of all.

    To TensorBoard, whenever a finding comes up, changes its severity or is over:

    - `doctor/findings/text_summary`: the findings, in the Text tab.
    - `rnn_diag/verdict`: the findings, for the tab "RNN Diagnostics".

    Ranks are merged by sums and counts. Cost: three times that of `GradientNorms`; a plain recurrence's matrix is
    decomposed at every measured step.

    Args:
        every_n_steps: See `Diagnostic`.
        sequences: See `Diagnostic`.
        layers: See `Diagnostic`.
        max_overhead: See `Diagnostic`.
        stop_on: Findings, such as `["non_finite", "exploding"]`, that end the fit once they are critical.

    Raises:
        ValueError: If `stop_on` names no finding.
    """

    name: ClassVar[str] = "doctor"
    needs_equations: ClassVar[bool] = False

    def __init__(
        self,
        every_n_steps: int = 50,
        sequences: int | None = 8,
        layers: str | list[str] | tuple[str, ...] = "*",
        max_overhead: float | None = 0.02,
        stop_on: list[str] | tuple[str, ...] = (),
    ) -> None:
        super().__init__(every_n_steps, sequences, layers, max_overhead)
        unknown = [word for word in stop_on if word not in WORDS]
        if unknown:
            raise ValueError(f"stop_on names {unknown[0]!r}; choices: {', '.join(WORDS)}")
        self.stop_on = tuple(stop_on)
        self._names: list[str] = []
        self._folder: Path | None = None
        self.forget()

    @property
    def report(self) -> Report | None:
        """The latest report of this fit, or of the last one."""
        return self._case.report

    def forget(self) -> None:
        """Drop what earlier fits left."""
        self._case = Case()
        self._fresh: dict[str, Tally] = {}
        self._amp_scaled = False
        self._factors: list[float] = []
        self._told: set[tuple[str, str, Severity]] | None = None
        self._failed = False

    def measure(self, trace: Trace, units: GradientUnits) -> Tally:
        """Return the sums of one call."""
        self._amp_scaled = units.scaled
        return Tally.of(trace, units.factor)

    def scalars(self, layer: str, merged: Tally) -> Mapping[str, float]:
        """Return the layer's severity; keep its sums for when all layers are in."""
        self._fresh[layer] = merged
        found = findings_of([Vitals.of(merged)])
        return {"severity": float(max((finding.severity for finding in found), default=Severity.INFO))}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the layers and the run's folder."""
        self._names = Recording(pl_module, layers=self.layers).names
        self._folder = Path(trainer.log_dir or trainer.default_root_dir)  # asked on all ranks, as it may broadcast
        super().on_fit_start(trainer, pl_module)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Note by what the gradient is about to be clipped."""
        if trainer.gradient_clip_val and logging_step(trainer) % self.every_n_steps == 0:
            value = float(trainer.gradient_clip_val)
            self._factors.append(clip_factor(optimizer, value, str(trainer.gradient_clip_algorithm or "norm")))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Judge what was measured in this batch, by whichever callback drives the session."""
        step = logging_step(trainer)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        fresh, self._fresh = self._fresh, {}
        if not fresh or self._failed:
            return
        try:
            self._judge(trainer, fresh, step)
        except Exception as error:
            self._failed = True
            self._warn(trainer, f"the doctor is switched off: {described(error)}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the table and write the file."""
        super().on_train_end(trainer, pl_module)
        self._close_case(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write what is known so far."""
        super().on_exception(trainer, pl_module, exception)
        self._close_case(trainer)

    def _judge(self, trainer: Trainer, fresh: dict[str, Tally], step: int) -> None:
        facts = {"amp_scaled": self._amp_scaled, **clip_facts(self._factors)}
        vitals = with_coverage(fresh, self._coverage(trainer, fresh), facts)
        report = Report(findings_of(vitals), vitals)
        changed = self._case.follow(report, step)
        trainer.callback_metrics["doctor/severity"] = torch.tensor(float(report.severity))
        for finding in changed:
            if finding.severity >= Severity.WARNING:
                self._warn(trainer, f"step {step}: {finding.summary} Try: {finding.advice}")
        self._tell_tensorboard(trainer, report.findings, step)
        hopeless = [one for one in report.findings if one.id in self.stop_on and one.severity is Severity.CRITICAL]
        if hopeless:
            trainer.should_stop = True
            self._warn(trainer, f"training stops at step {step}: {hopeless[0].summary}")

    def _tell_tensorboard(self, trainer: Trainer, findings: Sequence[Finding], step: int) -> None:
        standing = {(one.layer, one.id, one.severity) for one in findings}
        if standing == self._told:
            return
        self._told = standing
        statements = [_statement(one) for one in findings]
        for writer in writers_of(trainer):
            writer.add_text("doctor/findings", as_markdown(statements, "The doctor finds nothing wrong."), step)
            write_verdict(writer, step, [_for_the_tab(one) for one in statements])

    def _coverage(self, trainer: Trainer, fresh: Mapping[str, Tally]) -> dict[str, str]:
        """Return how every layer was seen, as the session that measured has it."""
        members = [one for one in trainer.callbacks if isinstance(one, DiagnosticCallback)]  # type: ignore[attr-defined]
        session = next((one._session for one in members if one._session is not None), None)
        rows = [] if session is None else session.coverage
        seen = {row.layer: row.captured for row in rows if row.layer in self._names}
        return {name: seen.get(name, "exact" if name in fresh else "not followed") for name in self._names}

    def _close_case(self, trainer: Trainer) -> None:
        if self._case.report is None or not trainer.is_global_zero:
            return
        console = Console()
        if self._case.report.findings:
            console.print(
                findings_table(self._case.report.findings, f"What the doctor found at step {self._case.step}")
            )
        for episode in self._case.past:
            console.print(f"over since step {episode.last_step}: {episode.worst.summary}", highlight=False)
        if self._folder is not None and not getattr(trainer, "fast_dev_run", False):
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                (self._folder / FILE).write_text(self._case.to_json())
            except OSError as error:
                self._warn(trainer, f"{FILE} is not written: {described(error)}")

    def _warn(self, trainer: Trainer, message: str) -> None:
        if trainer.is_global_zero:
            warnings.warn(f"rnn_diag: {message}", DiagnosticWarning, stacklevel=3)


def _statement(finding: Finding) -> Statement:
    numbers = "; ".join(map(str, finding.evidence))
    return Statement(str(finding.severity), finding.layer, f"{finding.id}: {finding.meaning}", numbers, finding.advice)


def _for_the_tab(statement: Statement) -> dict[str, str]:
    severity, layer, title, evidence, advice = statement
    severity = "info" if severity == "advice" else severity
    return {"severity": severity, "layer": layer, "title": title, "evidence": evidence, "advice": advice}
