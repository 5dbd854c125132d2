"""When the doctor looks at a network that trains, and what it makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, final

import torch

from rnn_diag.arguments import one_of
from rnn_diag.callbacks.attachment import DiagnosticCallback
from rnn_diag.callbacks.concern import Patterns, Schedule
from rnn_diag.callbacks.doctor_messages import DoctorMessages
from rnn_diag.callbacks.doctor_preflight import NothingSeen, Preflight, Refused
from rnn_diag.callbacks.lightning import logging_step, say
from rnn_diag.callbacks.session.warnings import in_words
from rnn_diag.callbacks.subscriber import FirstLook, StepReport, Subscriber
from rnn_diag.capture.patterns import patterns_in
from rnn_diag.doctor.finding import Severity
from rnn_diag.doctor.history import RunHistory
from rnn_diag.doctor.report import Report
from rnn_diag.doctor.rules import RULE_IDS, RUN_RULES

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

IDS_OF_THE_RUN = tuple(rule.__name__ for rule in RUN_RULES)
"""Findings that are of no single layer, and told at one of them."""


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
class Doctor(DiagnosticCallback, Subscriber):
    """Says in words what is wrong with the recurrent layers while they train, and what to try first.

    It looks first at the first batch, so that a bad start is known at once. A finding is told in one line when it comes
    up or gets worse: as a `DiagnosticWarning` from "warning" on. At the end there are a few lines, and `doctor.json` in
    the logger's folder, or else in one of its own, `rnn_diag/version_<n>` under `default_root_dir`, either of which may
    be remote. `rnn_diag.compare` reads it; `report` is the same. Deep copies, which some projects train with, leave
    their report at the original, too; copies in other processes do not: look into `doctor.json` then.

    Some things take several batches to be known: that gradients are clipped nearly always (10 measured steps), that a
    state is carried over (3), and that a layer gets no gradient or never runs (3, over at least 10 batches, in none of
    which its weights have changed: two networks may be trained in turn).

    With `preflight` it speaks before the first weight changes: all layers and directions, how far they reach against
    how far they are predicted to and how long sequences are, how they start, and what measuring is going to cost. Under
    manual optimisation that is at the end of the first batch, when it is known which backward passes there are.

    Scalars, at every measured step:

    - `doctor/<layer>/severity`: of the worst finding there: 0 info or none, 1 advice, 2 warning, 3 critical.

    In the trainer's callback metrics, for early stopping, checkpoints and sweeps:

    - `doctor/severity`: of the worst finding of all.

    To TensorBoard, whenever a finding comes up, changes its severity or is over:

    - `doctor/findings/text_summary`: the findings, in the Text tab.
    - `rnn_diag/verdict`: the findings, for the tab "RNN Diagnostics", as every callback of this package writes them;
      and `rnn_diag/verdict/text_summary`.

    Every measured step is judged once, whichever callback measured it, by the thresholds of the callbacks that are
    there; `Doctor` asks for all that the judge can use, and tells what it says. Ranks are merged by sums and counts.
    What the spectrum of a plain recurrence says is known one measured step later: it is computed in the background.

    Args:
        every_n_steps: See `Diagnostic`.
        sequences: See `Diagnostic`.
        layers: See `Diagnostic`.
        max_overhead: See `Diagnostic`.
        stop_on: Findings, such as `["non_finite", "exploding"]`, that end the fit once they are critical.
        preflight: `"report"` to print a report on the first batch; `"advice"`, `"warning"` or `"critical"` to refuse
            the run, too, with `rnn_diag.callbacks.Refused`, if a finding is as bad. None for neither.
        verbose: Whether a table with every finding and its numbers is printed at the end, rather than the worst five.
        command_line: Whether advice names the options of `rnn-diag-train`, which sets this, rather than calls. Both are
            in `doctor.json`.
        discover: See `Diagnostic`.

    Raises:
        ValueError: If `stop_on` names no finding, or `preflight` is no such word.
    """

    role: ClassVar[str] = "doctor"

    def __init__(
        self,
        every_n_steps: int = Schedule.every_n_steps,
        sequences: int | None = Schedule.sequences,
        layers: Patterns = Schedule.layers,
        max_overhead: float | None = Schedule.max_overhead,
        stop_on: list[str] | tuple[str, ...] = (),
        preflight: str | None = None,
        verbose: bool = False,
        command_line: bool = False,
        discover: bool = Schedule.discover,
    ) -> None:
        super().__init__(Schedule(every_n_steps, sequences, layers, max_overhead, discover))
        self.stop_on = tuple(one_of("stop_on", word, RULE_IDS) for word in stop_on)
        self.preflight = preflight
        self.verbose = verbose
        self.command_line = command_line
        self._latest = Latest()
        self._begin()

    @property
    def report(self) -> Report | None:
        """The latest report of this fit, or of the last one; a deep copy's, if that was later."""
        return self._latest.report

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget earlier fits, and find the layers."""
        self._begin()
        super().on_fit_start(trainer, pl_module)

    def before_update(self, trainer: Trainer, look: FirstLook) -> None:
        """Judge how the network starts, while it still does."""
        if self._preflight is None or self._preflight.is_over:
            return
        try:
            report = self._worded(self._preflight.report(trainer, look))
            self._messages.show(trainer, report)
            say(f"rnn_diag: {self._preflight.cost(report, self.schedule)}")
            self._preflight.refuse(report)
        except Refused:
            self._messages.write(trainer, RunHistory(report, logging_step(trainer)))
            raise
        except NothingSeen as reason:
            self._messages.warn(trainer, f"the pre-flight check is left out: {reason}")
        except Exception as error:
            self._messages.warn(trainer, f"the pre-flight check is left out: {in_words(error)}")

    def step_measured(self, trainer: Trainer, report: StepReport) -> Mapping[str, float]:
        """Tell what came up; stop a run that is hopeless, if that was asked for."""
        verdict = self._latest.report = self._worded(self._of_my_layers(report.verdict))
        changed = self._history.follow(verdict, report.step)
        trainer.callback_metrics["doctor/severity"] = torch.tensor(float(verdict.severity))
        self._messages.changes(trainer, changed, report.step)
        self._messages.to_tensorboard(trainer, self._history)
        hopeless = [one for one in verdict.findings if one.id in self.stop_on and one.severity is Severity.CRITICAL]
        if hopeless and not trainer.should_stop:
            trainer.should_stop = True
            self._messages.warn(trainer, f"training stops at step {report.step}: {hopeless[0].summary}")
        return {
            f"doctor/{layer}/severity": float(
                max((one.severity for one in verdict.findings if one.layer == layer), default=0)
            )
            for layer in report.measured
            if layer in verdict.vitals
        }

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print what was found and write the file."""
        super().on_train_end(trainer, pl_module)
        self._messages.close(trainer, self._history)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write what is known so far."""
        super().on_exception(trainer, pl_module, exception)
        self._messages.close(trainer, self._history)

    def _begin(self) -> None:
        """Drop what earlier fits left."""
        self._latest.report = None
        self._history = RunHistory()
        self._messages = DoctorMessages(self.verbose)
        self._preflight = None if self.preflight is None else Preflight(self.preflight)

    def _worded(self, report: Report) -> Report:
        return report.for_command_line() if self.command_line else report

    def _of_my_layers(self, verdict: Report) -> Report:
        """Return the findings at the layers that were asked for; others may be judged with them."""
        if self.schedule.layers == "*":
            return verdict
        patterns = patterns_in(self.schedule.layers)
        mine = {layer for layer in verdict.vitals if any(fnmatchcase(layer, pattern) for pattern in patterns)}
        findings = tuple(one for one in verdict.findings if one.layer in mine or one.id in IDS_OF_THE_RUN)
        return replace(verdict, findings=findings, vitals={layer: verdict.vitals[layer] for layer in mine})
