"""One fit as all callbacks of a trainer share it: one recording, one exchange between ranks, one write per step."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rnn_diag.callbacks.concern import Concern
from rnn_diag.callbacks.lightning import all_ranks, gradient_units, logging_step, say, settle, trains_on_cpu
from rnn_diag.callbacks.session.exchange import Completed, Findings, MeasuredStep, RankReport, merged, seen_by_any
from rnn_diag.callbacks.session.judging import Judging
from rnn_diag.callbacks.session.measuring import NO_UNITS, measure_step
from rnn_diag.callbacks.session.pace import Cadence, Overhead
from rnn_diag.callbacks.session.plan import Key, Plan, Request
from rnn_diag.callbacks.session.publishing import Measured, Publisher
from rnn_diag.callbacks.session.warnings import Refusal, Warnings, in_words
from rnn_diag.callbacks.session.worker import Worker
from rnn_diag.callbacks.subscriber import FirstLook, StepReport, Subscriber
from rnn_diag.doctor.judge import MEASURES
from rnn_diag.measurements.layer import chosen

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


class Session:
    """Drives the concerns of all callbacks through one fit; none of their errors leaves it.

    Whether a step is measured depends only on the step and on values all ranks share, so either all ranks reach the
    collective call or none does.

    Raises:
        ValueError: If a pattern matches no layer.
    """

    def __init__(self, concerns: Iterable[Concern], subscribers: Iterable[Subscriber], model: nn.Module) -> None:
        self._concerns = {one: Request(one.name, one.schedule, (one.measure_of,)) for one in concerns}
        needed = chosen(MEASURES, [measure for request in self._concerns.values() for measure in request.measures])
        self._subscribers = {one: Request(one.role, one.schedule, needed, is_judged=True) for one in subscribers}
        requests = [*self._concerns.values(), *self._subscribers.values()]
        self._plan = Plan(requests, model)
        self._judging: Judging | None = None
        if self._subscribers:
            for_command_line = any(one.command_line for one in self._subscribers)
            self._judging = Judging([self._plan.key_of(one) for one in needed], for_command_line)
        self._disabled: set[Key] = set()
        self._batches = 0
        self._last_step, self._last_step_is_judged = -1, False
        self._current: MeasuredStep | None = None
        limits = [limit for one in requests if (limit := one.schedule.max_overhead) is not None]
        self._cadence = Cadence(min(limits, default=None))
        self._overhead = Overhead()
        self._window = self._overhead.read()
        self._last_measured: tuple[int, float] | None = None
        self.warnings = Warnings()
        self._worker: Worker[Completed] = Worker()
        self._publisher = Publisher(self._concerns, self.warnings)
        for concern in self._concerns:
            concern.forget()

    @property
    def progress(self) -> dict[str, int]:
        """How far this fit has come, in plain numbers."""
        return {"stretch": self._cadence.stretch, "drawn": self._publisher.measurements}

    def resume(self, concerns: Sequence[Concern], state: Mapping[str, Any]) -> None:
        """Continue from the state of some of the concerns, which another fit left."""
        try:
            histories = state.get("histories", {})
            if not isinstance(histories, Mapping):  # up to version 0.1 they had no names
                histories = {one.name: history for one, history in zip(concerns, histories, strict=False)}
            for concern in concerns:
                if concern.name in histories:
                    concern.resume(histories[concern.name])
            progress = state.get("progress", {})
            self._cadence.stretch = max(self._cadence.stretch, progress.get("stretch", 1))
            self._publisher.resume(progress.get("drawn", 0))
        except Exception as error:
            self.warnings.warn(f"what was measured before is left out: {in_words(error)}")

    def announce(self, trainer: Trainer) -> None:
        """Print which layers there are, how they are seen, and under which tags."""
        self.warnings.speaks = trainer.is_global_zero
        if trainer.is_global_zero:
            self._plan.announce()
        if self._plan.nothing_measured:
            self.warnings.warn(self._plan.nothing_measured)

    def batch_starts(self, trainer: Trainer) -> None:
        """Begin to record, if anything is due; of accumulated batches only the first is measured."""
        self.abandon()
        self._batches += 1
        with self._overhead.measuring():
            step = logging_step(trainer)
            due = self._plan.due(step, self._cadence.stretch, self._disabled)
            if not due or step == self._last_step:
                return
            self._last_step, self._last_step_is_judged = step, any(request.is_judged for request in due)
            wanted = self._plan.wanted(due, self._disabled)
            self._current = MeasuredStep(step, due, wanted, self._overhead.read().spent)
            try:
                self._current.recording = self._plan.recording(due).start()
            except Exception as error:
                self._current.fail(in_words(error))

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
                current.fail(in_words(error))
            if trainer.lightning_module.automatic_optimization:
                self._show_before_update(current, trainer)

    def optimizer_steps(self, trainer: Trainer, optimizer: Any) -> None:
        """Note by what gradients are clipped at steps that are judged."""
        if self._judging is not None and self._last_step_is_judged and logging_step(trainer) == self._last_step:
            with self._overhead.measuring():
                self._judging.optimizer_steps(trainer, optimizer)

    def batch_ends(self, trainer: Trainer) -> None:
        """Measure, merge what all ranks measured, and publish it."""
        current, self._current = self._current, None
        if current is None:
            self._judge_what_cannot_be_followed(trainer)
            return
        settle(trainer)
        now = self._overhead.read()
        report = RankReport(
            overhead=self._overhead.share, recent=now.share_since(self._window), seconds=self._overhead.seconds
        )
        with self._overhead.measuring(), torch.no_grad():
            self._show_before_update(current, trainer)
            self._measure(current, report, trainer)
            ranks = all_ranks(trainer, report)
            self._publish_completed(trainer, ranks)
            found = self._agreed([rank.problems for rank in ranks], [rank.found for rank in ranks])
            found = {} if any(rank.is_lost for rank in ranks) else found
            if self._cadence.decide(max(rank.recent for rank in ranks), max(rank.seconds for rank in ranks)):
                self._window = now
            self._say_how_often()
            numbers = self._of_the_run(ranks) | self._judge(current, found, ranks, trainer)
            self._publish(trainer, current.step, self._by_concern(found, current.due), numbers)
            self._publish_cost(trainer, current.spent)
            self._last_measured = current.step, current.spent

    def end(self, trainer: Trainer) -> None:
        """Publish what is still being computed, which all ranks wait for, and draw what was measured since."""
        if self._plan.of_weights and self._last_step >= 0:
            report = RankReport()
            self._take_completed(report, trainer, in_any_case=True)
            self._publish_completed(trainer, all_ranks(trainer, report))
        if self._judging is not None and (again := self._judging.again()) is not None:
            self._publisher.show(trainer, self._tell(again, trainer))
        self._publish_cost(trainer, self._overhead.read().spent)
        try:
            self._publisher.draw_last(trainer)
        except Exception as error:
            self.warnings.warn(f"the last pictures are left out: {in_words(error)}")

    def abandon(self) -> None:
        """Drop a step that will not end."""
        current, self._current = self._current, None
        if current is not None:
            _stop(current)

    def lose_step(self) -> None:
        """Measure nothing at this step after an error that nothing else caught; other ranks wait to hear of it."""
        current = self._current
        if current is not None:
            current.is_lost = True
            _stop(current)

    def close(self) -> None:
        """Release everything."""
        self.abandon()
        self._worker.close()

    def _measure(self, current: MeasuredStep, report: RankReport, trainer: Trainer) -> None:
        """Fill the report with what this rank measures; weights are left to the background."""
        try:
            self._take_completed(report, trainer, in_any_case=self._cadence.max_overhead is None)
            if self._worker.is_busy or not (trainer.is_global_zero and self._may_compute(trainer)):
                current.leave_out(self._plan.of_weights)
            if not current.is_lost:
                report.found = measure_step(current, self._plan.measures, self.warnings)
            of_weights = [key for key in report.found if key[0] in self._plan.of_weights]
            report.begun = self._begin({key: report.found.pop(key) for key in of_weights}, current.step)
            self._publisher.coverage = self._plan.rows({one.layer: one for one in current.coverage})
        except Exception as error:
            current.fail(in_words(error))
        finally:
            _stop(current)
        report.problems, report.coverage, report.is_lost = current.problems, current.coverage, current.is_lost
        report.units = current.units[0] if current.units else None
        if self._judging is not None:
            report.clipped, self._judging.clipped = self._judging.clipped, []

    def _begin(self, begun: Findings, step: int) -> Findings:
        """Begin to finish measurements of weights; return what is known at once."""
        measures = self._plan.measures
        if begun:
            self._worker.start(lambda: Completed.of(step, begun, measures))
        known = {key: measures[key[0]].at_once(value) for key, value in begun.items()}
        return {key: value for key, value in known.items() if value is not None}

    def _judge(
        self, current: MeasuredStep, found: Findings, ranks: Sequence[RankReport], trainer: Trainer
    ) -> dict[str, float]:
        """Judge what all ranks measured, and tell subscribers; return the numbers that they log."""
        if self._judging is None:
            return {}
        try:
            self._judging.hear(ranks[0].clipped, ranks[0].begun)
            if any(rank.is_lost for rank in ranks) or not any(request.is_judged for request in current.due):
                return {}
            units = next((rank.units for rank in ranks if rank.units is not None), NO_UNITS)
            coverage = self._plan.judged(seen_by_any(ranks))
            report = self._judging.judge(trainer, current.step, found, coverage, units, self._batches)
        except Exception as error:
            self._switch_off_all(self._subscribers, in_words(error))
            return {}
        return self._tell(report, trainer)

    def _judge_what_cannot_be_followed(self, trainer: Trainer) -> None:
        """Say once of a model without a layer to measure why it has none."""
        if self._judging is None or self._batches > 1 or any(self._plan.layers.values()):
            return
        if coverage := self._plan.judged({}):
            report = self._judging.judge(trainer, logging_step(trainer), {}, coverage, NO_UNITS, self._batches)
            self._publisher.show(trainer, self._tell(report, trainer))

    def _tell(self, report: StepReport, trainer: Trainer) -> dict[str, float]:
        """Tell subscribers of a step that was judged; return the numbers that they log."""
        numbers: dict[str, float] = {}
        for subscriber in list(self._subscribers):
            try:
                numbers |= subscriber.step_measured(trainer, report)
            except Exception as error:
                self._switch_off_all([subscriber], in_words(error))
        if self._judging is not None:
            self._publisher.write_verdict(trainer, self._judging.history)
        return numbers

    def _show_before_update(self, current: MeasuredStep, trainer: Trainer) -> None:
        """Show a step to subscribers while no weight has changed."""
        for subscriber, request in list(self._subscribers.items()):
            if request in current.due:
                try:
                    subscriber.before_update(
                        trainer, FirstLook(current.recording, self._plan.layers[request], current.began)
                    )
                except Refusal:
                    raise
                except Exception as error:
                    self._switch_off_all([subscriber], in_words(error))

    def _switch_off_all(self, subscribers: Iterable[Subscriber], reason: str) -> None:
        """Warn that subscribers failed, and tell them nothing any more; without any there is nothing to judge."""
        gone = {one: self._subscribers.pop(one) for one in list(subscribers)}
        names = " and the ".join(request.name for request in gone.values() if request.name)
        self.warnings.warn(f"the {names or 'verdict'} is switched off: {reason}")
        if not self._subscribers:
            askers = {key: self._plan.askers(key) for key in self._plan.measures}
            self._disabled |= {key for key, who in askers.items() if all(request.is_judged for request in who)}
            self._judging = None

    def _may_compute(self, trainer: Trainer) -> bool:
        """Return whether the thread may begin: on a CPU it may take half of the share that measuring may take."""
        limit = self._cadence.max_overhead
        if limit is None or not trains_on_cpu(trainer) or not self._cadence.is_warm(self._overhead.seconds):
            return True
        return self._worker.has_rested(limit / 2)

    def _take_completed(self, report: RankReport, trainer: Trainer, in_any_case: bool) -> None:
        """Add to the report what the thread has completed; on a CPU the time that it took was taken from training."""
        report.completed = self._worker.take(in_any_case)
        if report.completed is not None and trains_on_cpu(trainer):
            self._overhead.beside(self._worker.seconds)

    def _agreed(self, problems: Iterable[Mapping[Key, str]], found: list[Findings]) -> Findings:
        """Return the ranks' measurements together; switch off, on all of them, what failed on any."""
        together = {key: reason for rank in problems for key, reason in rank.items()}
        agreed = merged(together, found)
        self._switch_off({key: reason for key, reason in together.items() if key not in self._disabled})
        return agreed

    def _switch_off(self, problems: Mapping[Key, str]) -> None:
        """Warn of measures that failed, once for each reason, and leave them out from now on."""
        self._disabled |= set(problems)
        by_reason: dict[str, list[Key]] = {}
        for key, reason in problems.items():
            by_reason.setdefault(reason, []).append(key)
        for reason, keys in by_reason.items():
            askers = (request for key in keys for request in self._plan.askers(key) if not request.is_judged)
            names = dict.fromkeys(request.name for request in askers)
            *first, last = names or [f"what the doctor needs ({', '.join(keys)})"]
            who = f"{', '.join(first)} and {last} are" if first else f"{last} is"
            self.warnings.warn(f"{who} switched off: {reason}")

    def _by_concern(self, found: Findings, due: Collection[Request]) -> Measured:
        """Return what belongs to each concern that is due."""
        measured: dict[Concern, dict[str, Any]] = {}
        for concern, request in self._concerns.items():
            if request in due:
                (key,) = self._plan.keys(request)
                layers = {layer: found[key, layer] for layer in self._plan.layers[request] if (key, layer) in found}
                measured[concern] = layers
        return measured

    def _publish_completed(self, trainer: Trainer, ranks: list[RankReport]) -> None:
        for completed in (rank.completed for rank in ranks if rank.completed is not None):
            found = self._agreed([completed.problems], [completed.found])
            if self._judging is not None:
                self._judging.hear_finished(found)
            due = self._plan.due(completed.step, 1)  # whoever waited for it, however much intervals were stretched
            self._publish(trainer, completed.step, self._by_concern(found, due), {})

    def _publish(self, trainer: Trainer, step: int, measured: Measured, of_the_run: dict[str, float]) -> None:
        try:
            self._publisher.publish(trainer, step, measured, of_the_run)
        except Exception as error:
            self.warnings.warn_once("what was measured is not all written", in_words(error))

    def _publish_cost(self, trainer: Trainer, spent: float) -> None:
        """Write what the step before took, once it is known."""
        if self._last_measured is not None:
            step, before = self._last_measured
            try:
                self._publisher.write_cost(trainer, step, 1000 * (spent - before), self._overhead.share)
            except Exception as error:
                self.warnings.warn_once("what measuring took is not written", in_words(error))

    def _of_the_run(self, ranks: list[RankReport]) -> dict[str, float]:
        intervals = [one.schedule.interval(self._cadence.stretch) for one in self._plan.enabled(self._disabled)]
        return {
            "rnn_diag/overhead": 100 * max(rank.overhead for rank in ranks),
            "rnn_diag/every_n_steps": float(min(intervals, default=0)),
        }

    def _say_how_often(self) -> None:
        if self._cadence.says_so and self._cadence.max_overhead is not None and self.warnings.speaks:
            say(
                f"rnn_diag: measuring took more than {100 * self._cadence.max_overhead:g}% of the training time; "
                f"intervals are {self._cadence.stretch} times as long from now on, or longer (rnn_diag/every_n_steps)"
            )


def _stop(current: MeasuredStep) -> None:
    if current.recording is not None:
        current.recording.stop()
