"""When the doctor looks at a network that trains, and what it makes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch

from rnn_diag.arguments import one_of
from rnn_diag.callbacks.attachment import DiagnosticCallback
from rnn_diag.callbacks.concern import Patterns, Schedule
from rnn_diag.callbacks.diagnostic import Diagnostic
from rnn_diag.callbacks.doctor_messages import DoctorMessages
from rnn_diag.callbacks.doctor_preflight import Preflight, Refused
from rnn_diag.callbacks.lightning import clip_factor, logging_step, say
from rnn_diag.callbacks.session.session import Session
from rnn_diag.callbacks.session.warnings import in_words
from rnn_diag.capture import Recording
from rnn_diag.coverage import Coverage
from rnn_diag.doctor.finding import Severity
from rnn_diag.doctor.history import RunHistory
from rnn_diag.doctor.judge import judge
from rnn_diag.doctor.parameters import frozen_layers, in_no_optimizer, times_changed
from rnn_diag.doctor.report import Report
from rnn_diag.doctor.rules import RULE_IDS
from rnn_diag.doctor.rules.scale import FEWEST_STEPS
from rnn_diag.doctor.run_facts import Clipping, RunFacts
from rnn_diag.measurements.layer import LayerMeasurements
from rnn_diag.measurements.measure import GradientUnits
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


class Latest:
    """Where a doctor leaves its latest report: one object for all its deep copies, as projects make of callbacks.

    Attributes:
        report: None before the first.
    """

    def __init__(self) -> None:
        self.report: Report | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Latest:
        return self


@final
class Doctor(Diagnostic):
    """Says in words what is wrong with the recurrent layers while they train, and what to try first.

    It looks first at the first batch, so that a bad start is known at once. A finding is told in one line when it comes
    up or gets worse: as a `DiagnosticWarning` from "warning" on. At the end there is a table, and `doctor.json` in the
    run's folder (the logger's, or else `default_root_dir`), which `rnn_diag.compare` reads; `report` has the same. Deep
    copies, which some projects train with, leave their report at the original, too; copies in other processes do not:
    look into `doctor.json` then.

    Some things take several batches to be known: that gradients are clipped nearly always (10 measured steps), that a
    state is carried over (3), and that a layer gets no gradient or never runs (3, over at least 10 batches, in none of
    which its weights have changed: networks may take turns).

    With `preflight` it speaks before the first weight changes: all layers and directions, how far they reach against
    how far they are predicted to and how long sequences are, how they start, and what measuring is going to cost. Under
    manual optimisation that is at the end of the first batch, when it is known which backward passes there are.

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
        preflight: `"report"` to print a report on the first batch; `"advice"`, `"warning"` or `"critical"` to refuse
            the run, too, with `rnn_diag.callbacks.doctor_preflight.Refused`, if a finding is as bad. None for neither.
        command_line: Whether advice names the options of `rnn-diag-train`, whose configurations set this, rather than
            calls. Both are in `doctor.json`.

    Raises:
        ValueError: If `stop_on` names no finding, or `preflight` is no such word.
    """

    name: ClassVar[str] = "doctor"
    needs_equations: ClassVar[bool] = False

    def __init__(
        self,
        every_n_steps: int = Schedule.every_n_steps,
        sequences: int | None = Schedule.sequences,
        layers: Patterns = Schedule.layers,
        max_overhead: float | None = Schedule.max_overhead,
        stop_on: list[str] | tuple[str, ...] = (),
        preflight: str | None = None,
        command_line: bool = False,
    ) -> None:
        super().__init__(every_n_steps, sequences, layers, max_overhead)
        self.stop_on = tuple(one_of("stop_on", word, RULE_IDS) for word in stop_on)
        self.preflight = preflight
        self.command_line = command_line
        self._names: list[str] = []
        self._unfollowed: list[Coverage] = []
        self._latest = Latest()
        self._telling = DoctorMessages()
        self.forget()

    @property
    def report(self) -> Report | None:
        """The latest report of this fit, or of the last one; a deep copy's, if that was later."""
        return self._latest.report

    def forget(self) -> None:
        """Drop what earlier fits left."""
        self._latest.report = None
        self._history = RunHistory()
        self._fresh: dict[str, LayerMeasurements] = {}
        self._batches = 0
        self._amp_scaled = self._differentiated = self._is_off = self._is_due = False
        self._factors: list[float] = []
        self._preflight = None if self.preflight is None else Preflight(self.preflight)

    def measure(self, trace: Trace, units: GradientUnits) -> LayerMeasurements:
        """Return the sums of one call."""
        self._amp_scaled, self._differentiated = units.scaled, not math.isnan(units.factor)
        return LayerMeasurements.of(trace, units)

    def scalars(self, layer: str, merged: LayerMeasurements) -> Mapping[str, float]:
        """Return the layer's severity; keep its sums for when all layers are in."""
        self._fresh[layer] = merged
        return {"severity": float(judge({layer: merged}).severity)}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the layers and the run's folder."""
        self._find(pl_module)
        super().on_fit_start(trainer, pl_module)
        self._telling = DoctorMessages(
            Path(trainer.log_dir or trainer.default_root_dir)
        )  # all ranks ask: it may broadcast

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Begin to record, if anything is due at this step."""
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        self._batches += 1
        session = self._driving(trainer)
        due = session is not None and session.current is not None
        self._is_due = due and logging_step(trainer) % self.schedule.every_n_steps == 0
        if self._preflight is not None:
            self._preflight.batch_starts()

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge how the network starts, while it still does."""
        super().on_after_backward(trainer, pl_module)
        if pl_module.automatic_optimization:
            self._look_before(trainer)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Note by what the gradient is about to be clipped."""
        if trainer.gradient_clip_val and logging_step(trainer) % self.schedule.every_n_steps == 0:
            value = float(trainer.gradient_clip_val)
            self._factors.append(clip_factor(optimizer, value, str(trainer.gradient_clip_algorithm or "norm")))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Judge what was measured in this batch, by whichever callback drives the session."""
        step = logging_step(trainer)
        self._look_before(trainer)
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        fresh, self._fresh = self._fresh, {}
        unheard_of = not self._names and bool(self._unfollowed) and self._history.report is None
        if self._is_off or not (fresh or self._is_due or unheard_of):
            return
        try:
            self._judge(trainer, fresh, step)
        except Exception as error:
            self._is_off = True
            self._telling.warn(trainer, f"the doctor is switched off: {in_words(error)}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the table and write the file."""
        super().on_train_end(trainer, pl_module)
        self._telling.close(trainer, self._history)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write what is known so far."""
        super().on_exception(trainer, pl_module, exception)
        self._telling.close(trainer, self._history)

    def _look_before(self, trainer: Trainer) -> None:
        session = self._driving(trainer)
        current = None if session is None else session.current
        if self._preflight is None or self._preflight.is_over or current is None:
            return
        try:
            with torch.no_grad():
                report = self._worded(self._preflight.report(trainer, current, self._names))
            self._telling.show(trainer, report)
            say(f"rnn_diag: {self._preflight.cost(report, self.schedule.every_n_steps, self.schedule.max_overhead)}")
            self._preflight.refuse(report)
        except Refused:
            self._telling.write(trainer, RunHistory(report, logging_step(trainer)))
            raise
        except Exception as error:
            self._preflight.is_over = True
            self._telling.warn(trainer, f"the pre-flight check is left out: {in_words(error)}")

    def _judge(self, trainer: Trainer, fresh: dict[str, LayerMeasurements], step: int) -> None:
        coverage = self._coverage(trainer, fresh)
        if self._differentiated or not fresh:
            changes = times_changed(trainer.lightning_module)
            self._history.note(fresh, [one.layer for one in coverage], self._batches, changes)
        report = judge(fresh, coverage, self._facts(trainer))
        if not report.vitals:
            return
        report = self._latest.report = self._worded(report)
        changed = self._history.follow(report, step)
        trainer.callback_metrics["doctor/severity"] = torch.tensor(float(report.severity))
        self._telling.changes(trainer, changed, step)
        self._telling.to_tensorboard(trainer, self._history)
        hopeless = [one for one in report.findings if one.id in self.stop_on and one.severity is Severity.CRITICAL]
        if hopeless:
            trainer.should_stop = True
            self._telling.warn(trainer, f"training stops at step {step}: {hopeless[0].summary}")

    def _find(self, model: LightningModule) -> None:
        recording = Recording(model, layers=self.schedule.layers)
        self._names = recording.names
        others = (
            [row for row in recording.coverage if row.layer not in self._names] if self.schedule.layers == "*" else []
        )
        self._unfollowed = others

    def _worded(self, report: Report) -> Report:
        return report.for_command_line() if self.command_line else report

    def _facts(self, trainer: Trainer) -> RunFacts:
        """Return what is known of the run: by this batch, and by those before."""
        model = trainer.lightning_module
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        limit = float(trainer.gradient_clip_val or math.nan)
        return replace(
            self._history.facts(),
            amp_scaled=self._amp_scaled,
            clipping=Clipping.of(self._factors, limit) if len(self._factors) >= FEWEST_STEPS else None,
            frozen=frozen_layers(model),
            untrained=in_no_optimizer(model, (one for group in groups for one in group["params"])),
        )

    def _driving(self, trainer: Trainer) -> Session | None:
        """Return the session that measures for all callbacks of this package."""
        members = [one for one in trainer.callbacks if isinstance(one, DiagnosticCallback)]  # type: ignore[attr-defined]
        return next((one._session for one in members if one._session is not None), None)

    def _coverage(self, trainer: Trainer, fresh: Mapping[str, LayerMeasurements]) -> list[Coverage]:
        """Return how every layer was seen, as the session that measured has it; what it has nothing of is left out."""
        session = self._driving(trainer)
        seen = (
            [] if session is None else [row.coverage for row in session.coverage if row.coverage.layer in self._names]
        )
        return seen + self._unfollowed
