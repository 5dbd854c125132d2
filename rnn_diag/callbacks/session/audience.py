"""Who hears what the judge says of a measured step: TensorBoard and subscribers; and what happens where they fail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rnn_diag.callbacks.session.exchange import Findings, MeasuredStep, RankReport, seen_by_any
from rnn_diag.callbacks.session.judging import Judging
from rnn_diag.callbacks.session.measuring import NO_UNITS
from rnn_diag.callbacks.session.plan import Key, Plan, Request
from rnn_diag.callbacks.session.publishing import Publisher
from rnn_diag.callbacks.session.warnings import Refusal, Warnings, in_words
from rnn_diag.callbacks.subscriber import FirstLook, StepReport, Subscriber
from rnn_diag.capture.modules import find_recurrent

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


class Audience:
    """Has every measured step judged, writes the verdict, and tells subscribers.

    Args:
        requests: What each subscriber asks for.
        judging: Judges what is measured.
        plan: Which knows the layers of each.
        publisher: Writes verdicts.
        warnings: Told of what fails.
    """

    def __init__(
        self,
        requests: Mapping[Subscriber, Request],
        judging: Judging,
        plan: Plan,
        publisher: Publisher,
        warnings: Warnings,
    ) -> None:
        self._requests = dict(requests)
        self._plan = plan
        self._publisher = publisher
        self._warnings = warnings
        self._judging = judging
        self._batches = 0
        self._judges = self._all_judge = True

    @property
    def unneeded(self) -> set[Key]:
        """What only the judge needs, once all ranks know that nothing is judged any more."""
        if self._all_judge:
            return set()
        return {key for key in self._plan.measures if all(one.for_judge for one in self._plan.askers(key))}

    def batch_starts(self) -> None:
        """Count a batch."""
        self._batches += 1

    def before_update(self, current: MeasuredStep, trainer: Trainer) -> None:
        """Show a step to subscribers, once: while no weight has changed, where optimisation is automatic."""
        if current.is_shown:
            return
        current.is_shown = True
        for subscriber, request in list(self._requests.items()):
            if request in current.due:
                look = FirstLook(current.recording, self._plan.layers[request], current.began)
                try:
                    subscriber.before_update(trainer, look)
                except Refusal:
                    raise
                except Exception as error:
                    self._dismiss([subscriber], in_words(error))

    def optimizer_steps(self, trainer: Trainer, optimizer: Any) -> None:
        """Note by what gradients are clipped at a measured step."""
        if self._judges:
            self._judging.optimizer_steps(trainer, optimizer)

    def report(self, report: RankReport) -> None:
        """Add to a rank's report what it has noted."""
        report.clipped, self._judging.clipped = [factor.here() for factor in self._judging.clipped], []
        report.is_judging = self._judges

    def agree(self, ranks: Iterable[RankReport]) -> None:
        """Judge no more where a rank does not: what is measured, all of them measure."""
        self._all_judge = self._all_judge and all(rank.is_judging for rank in ranks)

    def hear(
        self, current: MeasuredStep, found: Findings, ranks: Sequence[RankReport], trainer: Trainer
    ) -> Mapping[str, float]:
        """Judge what all ranks measured, and tell subscribers; return the numbers that they log."""
        if not self._judges:
            return {}
        try:
            self._judging.hear(ranks[0].clipped, ranks[0].begun)
            if any(rank.is_lost for rank in ranks):
                return {}
            units = next((rank.units for rank in ranks if rank.units is not None), NO_UNITS)
            coverage = self._plan.judged(seen_by_any(rank.coverage for rank in ranks))
            self._judging.forget((key, layer) for key, layers in current.wanted.items() for layer in layers)
            recording, model = current.recording, trainer.lightning_module
            modules = find_recurrent(model)[0] if recording is None else recording.modules
            report = self._judging.judge(trainer, current.step, found, coverage, units, self._batches, modules)
        except Exception as error:
            self._judges = False
            self._dismiss(self._requests, in_words(error))
            return {}
        return self._tell(report, trainer)

    def hear_finished(self, found: Findings) -> None:
        """Take note of what the background has finished."""
        self._judging.hear_finished(found)

    def hear_what_cannot_be_followed(self, trainer: Trainer, step: int) -> None:
        """Say once of a model without a layer to measure why it has none."""
        coverage = [] if self._plan.is_searching else self._plan.judged({})
        if self._judges and self._batches == 1 and coverage and not any(self._plan.layers.values()):
            report = self._judging.judge(trainer, step, {}, coverage, NO_UNITS, self._batches, modules=[])
            self._publisher.show(trainer, self._tell(report, trainer))

    def end(self, trainer: Trainer) -> None:
        """Judge the last step again, if the background has finished something since."""
        if self._judges and (report := self._judging.again()) is not None:
            self._publisher.show(trainer, self._tell(report, trainer))

    def _tell(self, report: StepReport, trainer: Trainer) -> dict[str, float]:
        """Tell subscribers of a step that was judged; return the numbers that they log."""
        numbers: dict[str, float] = {}
        for subscriber in list(self._requests):
            try:
                numbers |= subscriber.step_measured(trainer, report)
            except Exception as error:
                self._dismiss([subscriber], in_words(error))
        self._publisher.write_verdict(trainer, self._judging.history)
        return numbers

    def _dismiss(self, subscribers: Iterable[Subscriber], reason: str) -> None:
        """Warn that subscribers failed, and tell them nothing any more."""
        gone = [self._requests.pop(one) for one in list(subscribers)]
        names = " and the ".join(request.name for request in gone if request.name)
        self._warnings.warn(f"the {names or 'verdict'} is switched off: {reason}")
