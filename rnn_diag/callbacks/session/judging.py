"""What the doctor's judge says of every measured step of a run: once, for all who listen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

from torch import nn

from rnn_diag.callbacks.lightning import clip_factor
from rnn_diag.callbacks.session.exchange import Findings
from rnn_diag.callbacks.session.plan import Key
from rnn_diag.callbacks.subscriber import StepReport
from rnn_diag.capture.modules import RecurrentModule
from rnn_diag.coverage import Coverage
from rnn_diag.doctor.history import RunHistory
from rnn_diag.doctor.judge import judge
from rnn_diag.doctor.parameters import frozen_layers, in_no_optimizer, parameters_of, times_changed
from rnn_diag.doctor.report import Report
from rnn_diag.doctor.rules.scale import FEWEST_STEPS
from rnn_diag.doctor.run_facts import Clipping, RunFacts
from rnn_diag.measurements.layer import LayerMeasurements
from rnn_diag.measurements.measure import GradientUnits
from rnn_diag.pending import Pending

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


class Judging:
    """Judges measured steps: by what is measured there, and by the latest of what is measured at other steps.

    Args:
        keys: What the judge goes by.
        for_command_line: Whether advice names the options of this package's commands.

    Attributes:
        history: What came up in this run.
        clipped: By what gradients were clipped at measured steps, on this rank, since ranks last spoke.
    """

    def __init__(self, keys: Sequence[Key], for_command_line: bool) -> None:
        self.history = RunHistory()
        self.clipped: list[Pending[float]] = []
        self._keys = keys
        self._for_command_line = for_command_line
        self._factors: list[float] = []
        self._known: Findings = {}
        self._seen: dict[str, Coverage] = {}
        self._begun: Findings = {}
        self._finished: Findings = {}
        self._latest: tuple[StepReport, RunFacts] | None = None
        self._has_news = False

    def optimizer_steps(self, trainer: Trainer, optimizer: Any) -> None:
        """Note by what the gradient is about to be clipped."""
        if trainer.gradient_clip_val:
            algorithm = str(trainer.gradient_clip_algorithm or "norm")
            self.clipped.append(clip_factor(optimizer, float(trainer.gradient_clip_val), algorithm).send())

    def hear(self, factors: Iterable[float], begun: Findings) -> None:
        """Take note of what ranks agree on: by what gradients were clipped, and what is known of weights at once."""
        self._factors += factors
        self._begun |= begun

    def hear_finished(self, finished: Findings) -> None:
        """Take note of weights whose measurement has been finished in the background."""
        mine = {key: value for key, value in finished.items() if key[0] in self._keys}
        self._finished |= mine
        self._has_news = self._has_news or bool(mine)

    def forget(self, measured_anew: Iterable[tuple[Key, str]]) -> None:
        """Drop what is known of these, which are about to be measured again, or found not to be there any more."""
        for one in measured_anew:
            self._known.pop(one, None)

    def judge(
        self,
        trainer: Trainer,
        step: int,
        found: Findings,
        coverage: Sequence[Coverage],
        units: GradientUnits,
        batch: int,
        modules: Iterable[RecurrentModule],
    ) -> StepReport:
        """Return what is to be said of a step.

        Args:
            trainer: Whose model it is.
            step: The training step.
            found: What was measured.
            coverage: How every layer that is looked at was captured.
            units: Of the gradients; NaN where there was no backward pass, which does not tell who learns.
            batch: The batch's number in the run.
            modules: The recurrent ones of the model as it is.
        """
        now, own = self._of(found), parameters_of(modules)
        if not math.isnan(units.factor) or not now:
            layers = [one.layer for one in coverage]
            self.history.note(now, layers, batch, times_changed(own))
        self._known |= found
        self._seen |= {one.layer: one for one in coverage}
        measured, coverage = self._of(self._known), list(self._seen.values())
        facts = self._facts(trainer, own, units)
        report = StepReport(step, measured, coverage, units, self._verdict(measured, coverage, facts))
        self._latest, self._has_news = (report, facts), False
        self.history.follow(report.verdict, step)
        return report

    def again(self) -> StepReport | None:
        """Return the last step judged anew, if the background has finished something since."""
        if self._latest is None or not self._has_news:
            return None
        last, facts = self._latest
        measured = {layer: self._with_weights(layer, one) for layer, one in last.measured.items()}
        report = replace(last, measured=measured, verdict=self._verdict(measured, last.coverage, facts), is_again=True)
        self.history.batches -= 1
        self.history.follow(report.verdict, last.step)
        return report

    def _of(self, found: Findings) -> dict[str, LayerMeasurements]:
        """Return what is known by layer, of those that ran."""
        layers = dict.fromkeys(layer for key, layer in found if key in self._keys)
        parts = {layer: [found[key, layer] for key in self._keys if (key, layer) in found] for layer in layers}
        return {layer: self._with_weights(layer, LayerMeasurements.together(*parts[layer])) for layer in layers}

    def _with_weights(self, layer: str, measured: LayerMeasurements) -> LayerMeasurements:
        known = [
            part[key, layer] for part in (self._begun, self._finished) for key in self._keys if (key, layer) in part
        ]
        return replace(measured, weights=reduce(add, known)) if known else measured

    def _facts(self, trainer: Trainer, own: Mapping[str, list[nn.Parameter]], units: GradientUnits) -> RunFacts:
        """Return what is known of the run: by this batch, and by those before."""
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        limit = float(trainer.gradient_clip_val or math.nan)
        return replace(
            self.history.facts(),
            amp_scaled=units.scaled,
            clipping=Clipping.of(self._factors, limit) if len(self._factors) >= FEWEST_STEPS else None,
            clips_to=limit,
            frozen=frozen_layers(own),
            untrained=in_no_optimizer(
                own, trainer.lightning_module, (one for group in groups for one in group["params"])
            ),
        )

    def _verdict(
        self, measured: Mapping[str, LayerMeasurements], coverage: Sequence[Coverage], facts: RunFacts
    ) -> Report:
        report = judge(measured, coverage, facts)
        return report.for_command_line() if self._for_command_line else report
