"""One fit as all callbacks of a trainer share it: one recording, one exchange between ranks, one write per step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from rnn_diag.arguments import number
from rnn_diag.callbacks.concern import Concern
from rnn_diag.callbacks.lightning import gradient_units, logging_step, say, trains_on_cpu
from rnn_diag.callbacks.session.audience import Audience
from rnn_diag.callbacks.session.device_time import DeviceTime
from rnn_diag.callbacks.session.exchange import Completed, Findings, MeasuredStep, RankReport, exchanged, merged
from rnn_diag.callbacks.session.judging import Judging
from rnn_diag.callbacks.session.measuring import ask, read, without_collector
from rnn_diag.callbacks.session.pace import Pace
from rnn_diag.callbacks.session.plan import Key, Plan, Request
from rnn_diag.callbacks.session.publishing import Measured, Publisher
from rnn_diag.callbacks.session.warnings import Refusal, Warnings, in_words
from rnn_diag.callbacks.session.wire import Wire
from rnn_diag.callbacks.session.worker import Worker
from rnn_diag.callbacks.subscriber import Subscriber
from rnn_diag.doctor.judge import MEASURES
from rnn_diag.measurements.call import MeasureCall
from rnn_diag.measurements.layer import chosen

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


WEIGHTS = 4
"""Of the measured steps, at every how manieth the doctor looks at weights anew, after as many in a row."""


class Session:
    """Drives the concerns of all callbacks through one fit; none of their errors leaves it.

    Whether a step is measured depends only on the step and on values all ranks share, so either all ranks reach the
    collective call or none does.

    Args:
        concerns: What is measured and published.
        subscribers: Who hears the verdict.
        model: Whose layers are measured.
        for_command_line: Whether advice names the options of this package's commands.

    Attributes:
        ends_with_others: Whether all ranks are known to have as many batches, so that they end together.

    Raises:
        ValueError: If a pattern matches no layer.
    """

    ends_with_others: bool = True

    def __init__(
        self,
        concerns: Iterable[Concern],
        subscribers: Iterable[Subscriber],
        model: nn.Module,
        for_command_line: bool = False,
    ) -> None:
        self._concerns = {
            one: Request(one.name, one.schedule, (one.measure_of,), every_nth=one.every_nth) for one in concerns
        }
        asked = [measure for request in self._concerns.values() for measure in request.measures]
        needed = chosen(MEASURES, asked)
        listeners = {
            one: Request(one.role, one.schedule, needed, for_judge=True, every_nth=WEIGHTS) for one in subscribers
        }
        facts = [Request("", one.schedule, (MeasureCall(),), for_judge=True) for one in self._concerns.values()]
        requests = [*self._concerns.values(), *listeners.values(), *facts]
        self._plan = Plan(requests, model)
        self._disabled: set[Key] = set()
        self._step = self._last_step = -1
        self._current: MeasuredStep | None = None
        self._asked: _Asked | None = None
        self._reads_later = False  # the first measured step is read at once, on all ranks alike
        self._has_started = True
        self._wire = Wire()
        limited = [(limit, one.schedule) for one in requests if (limit := one.schedule.max_overhead) is not None]
        limit = min((limit for limit, _ in limited), default=None)
        self._pace = Pace(limit, min((schedule.every_n_steps for _, schedule in limited), default=1))
        self._last_measured: tuple[int, float] | None = None
        self._warnings = Warnings()
        self._worker: Worker[Completed] = Worker()
        self._taken: dict[Key, tuple[int, int]] = {}
        self._publisher = Publisher(self._concerns, self._warnings, self._pace, self._worker)
        judged = [key for one in needed if (key := self._plan.key_of(one)) is not None]
        judging = Judging(judged, for_command_line)
        self._audience = Audience(listeners, judging, self._plan, self._publisher, self._warnings)
        for concern in self._concerns:
            concern.forget()

    @property
    def is_measuring(self) -> bool:
        """Whether the batch that runs is measured."""
        return self._current is not None

    @property
    def progress(self) -> dict[str, float]:
        """How far this fit has come, in plain numbers."""
        return {"stretch": self._pace.stretch, "drawn": self._publisher.measurements}

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
            stretch, drawn = (number(name, progress.get(name, 0), at_least=0) for name in ("stretch", "drawn"))
            self._pace.resume(stretch)
            self._publisher.resume(int(drawn))
        except Exception as error:
            self._warnings.warn(f"what was measured before is left out: {in_words(error)}")

    def announce(self, trainer: Trainer) -> None:
        """Print which layers there are, how they are seen, and under which tags."""
        self._warnings.speaks = trainer.is_global_zero
        if trainer.is_global_zero:
            self._plan.announce()
        if self._plan.nothing_measured and not self._plan.is_searching:
            self._warnings.warn(self._plan.nothing_measured)

    def batch_starts(self, trainer: Trainer, is_attached: Callable[[], bool] = lambda: True) -> None:
        """Begin to record, if anything is due; of accumulated batches only the first is measured.

        Args:
            trainer: Which trains.
            is_attached: Whether anything will still end this batch: a callback may be taken out in the midst of it.
        """
        self._has_started = False
        self.abandon()
        self._audience.batch_starts()
        step = logging_step(trainer)
        if step == self._step:
            self._has_started = True
            return
        self._pace.step_starts()
        with self._pace.measuring():
            self._current = self._due_at(step)
            self._has_started = True
            if self._current is None:
                return
            try:
                self._current.recording = self._plan.recording(self._current.due, is_attached).start()
            except Exception as error:
                self._current.fail(in_words(error))

    def _take_up(self, current: MeasuredStep) -> None:
        """End what is recorded of a step, and measure what was found by it, too."""
        if current.recording is None or not current.recording.is_running:
            return
        try:
            current.recording.stop()
            if self._plan.take_up(current.recording):
                current.wanted = self._plan.wanted(current.due, self._disabled)
                if self._warnings.speaks:
                    self._plan.announce()
        except Exception as error:
            current.fail(in_words(error))

    def _due_at(self, step: int) -> MeasuredStep | None:
        """Return what is to be measured at a step; None where nothing is due. All ranks decide alike."""
        due = [one for one in self._plan.due(step, self._disabled) if self._pace.is_due(one.schedule, step)]
        current = None
        if due:
            current = MeasuredStep(step, due, self._plan.wanted(due, self._disabled), self._pace.spent)
            self._pace.measures(step, [one.schedule for one in due])
            self._last_step = step
        self._step = step
        return current

    def backward_ends(self, trainer: Trainer) -> None:
        """Note the units of the gradients while they hold; manual optimisation may go on to another backward pass."""
        current = self._current
        if current is None or current.recording is None:
            return
        with self._pace.measuring():
            try:
                current.units.append(gradient_units(trainer))
                if trainer.lightning_module.automatic_optimization:
                    self._take_up(current)
            except Exception as error:
                current.fail(in_words(error))
            if trainer.lightning_module.automatic_optimization:
                self._audience.before_update(current, trainer)

    def optimizer_steps(self, trainer: Trainer, optimizer: Any) -> None:
        """Note by what gradients are clipped at steps that are judged."""
        if logging_step(trainer) == self._last_step:
            with self._pace.measuring():
                self._audience.optimizer_steps(trainer, optimizer)

    def batch_ends(self, trainer: Trainer) -> None:
        """Measure, merge what all ranks measured, and publish it: on a CPU now, else when the next batch ends.

        Another device computes what it was asked for while training continues, and nobody waits for it. Only the first
        measured step, which holds copies of the whole batch and compiles kernels, is published at once everywhere.
        """
        problem: Exception | None = None
        try:
            self.catch_up(trainer)
        except Refusal:  # which all ranks raise alike
            raise
        except Exception as error:  # this batch may be measured, too, and other ranks wait for this one's report
            problem = error
        if not self._has_started:  # other ranks may wait at this step
            self._current, self._has_started = self._due_at(logging_step(trainer)), True
            self.lose_step()
        current, self._current = self._current, None
        if current is None:
            self._audience.hear_what_cannot_be_followed(trainer, logging_step(trainer))
        else:
            problem = self._ask_and_read(current, trainer) or problem
        if problem is not None:
            raise problem

    def _ask_and_read(self, current: MeasuredStep, trainer: Trainer) -> Exception | None:
        """Ask for what is measured, and read it where that is not for later; return what went wrong meanwhile."""
        problem = None
        asked = _Asked(current, RankReport(is_lost=True), DeviceTime(trainer.strategy.root_device))
        with torch.no_grad(), without_collector():
            try:
                with self._pace.measuring(), asked.device_time:
                    self._take_up(current)
                    self._audience.before_update(current, trainer)
                    self._ask(asked, trainer)
            except Refusal:
                raise
            except Exception as error:
                current.is_lost, problem = True, error
            self._asked, is_read_now = asked, not self._reads_later
            self._reads_later = not trains_on_cpu(trainer)
            if is_read_now:
                self.catch_up(trainer)
        return problem

    def catch_up(self, trainer: Trainer) -> None:
        """Publish what was asked of a device at the end of an earlier batch; all ranks do so together."""
        asked, self._asked = self._asked, None
        if asked is None:
            return
        current, report, is_sent = asked.current, asked.report, False
        asked.device_time.wait()
        with torch.no_grad(), without_collector():
            try:
                with self._pace.measuring():
                    self._read(asked, trainer)
                    is_sent = True
                    self._merge(current, exchanged(self._wire, trainer, report), trainer)
            except Exception as error:
                if not (is_sent or isinstance(error, Refusal)):
                    exchanged(self._wire, trainer, RankReport(is_lost=True))
                raise

    def _merge(self, current: MeasuredStep, ranks: list[RankReport], trainer: Trainer) -> None:
        """Publish what all ranks measured."""
        said = self._pace.agree([rank.shares for rank in ranks])
        self._audience.agree(ranks)
        if not any(rank.may_measure for rank in ranks) and not self._plan.is_given_up:
            self._plan.is_given_up = True
            self._warnings.warn(self._plan.nothing_measured)
        self._disabled |= self._audience.unneeded
        self._publish_completed(trainer, ranks)
        found = self._agreed([rank.problems for rank in ranks], [rank.found for rank in ranks])
        found = {} if any(rank.is_lost for rank in ranks) else found
        self._say(said)
        numbers = {**self._of_the_run(ranks), **self._audience.hear(current, found, ranks, trainer)}
        self._publish(trainer, current.step, self._by_concern(found, current.due), numbers)
        self._publish_cost(trainer, current.spent)
        self._last_measured = current.step, current.spent

    def end(self, trainer: Trainer) -> None:
        """Publish what is still being computed, on all ranks if they end together, and draw what was measured since."""
        self.catch_up(trainer)
        if self._plan.of_weights and self._last_step >= 0:
            report = RankReport()
            try:
                self._take_completed(report, trainer, in_any_case=True)
            except Exception as error:
                self._warnings.warn(f"what was computed last is left out: {in_words(error)}")
            ranks = exchanged(self._wire, trainer, report) if self.ends_with_others else [report]
            self._publish_completed(trainer, ranks)
        self._audience.end(trainer)
        self._publish_cost(trainer, self._pace.spent)
        self._say(self._pace.told())
        try:
            self._publisher.draw_last(trainer)
        except Exception as error:
            self._warnings.warn(f"the last pictures are left out: {in_words(error)}")

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
        if self._asked is not None:
            _stop(self._asked.current)
            self._asked = None
        self._worker.close()

    def _ask(self, asked: _Asked, trainer: Trainer) -> None:
        """Ask for all that this rank measures."""
        current = asked.current
        try:
            self._take_completed(asked.report, trainer, in_any_case=self._pace.waits)
            may_begin = trainer.is_global_zero and self._pace.may_compute(self._worker, trains_on_cpu(trainer))
            nobody = self._worker.is_busy or not may_begin
            current.leave_out(self._plan.of_weights if nobody else self._of_recent_weights(current))
            if not current.is_lost:
                ask(current, self._plan.measures, self._reads_later, self._warnings)
        except Exception as error:
            current.fail(in_words(error))

    def _read(self, asked: _Asked, trainer: Trainer) -> None:
        """Fill the report with what was asked for; what takes long of weights is left to the background."""
        current, report = asked.current, asked.report
        try:
            if not current.is_lost:
                report.found = read(current, self._plan.measures, self._warnings)
            of_weights = [key for key in report.found if key[0] in self._plan.of_weights]
            report.begun = self._begin({key: report.found.pop(key) for key in of_weights}, current.step)
            self._publisher.coverage = self._plan.rows({one.layer: one for one in current.coverage})
        except Exception as error:
            current.fail(in_words(error))
        finally:
            current.asked.clear()
            if current.recording is not None:
                current.recording.release()
        self._pace.add_background(asked.device_time.beyond_host)
        report.problems, report.coverage, report.is_lost = current.problems, current.coverage, current.is_lost
        report.units = current.units[0] if current.units else None
        report.shares = self._pace.read()
        report.may_measure = self._plan.is_searching or not self._plan.nothing_measured
        self._audience.report(report)

    def _of_recent_weights(self, current: MeasuredStep) -> set[Key]:
        """Return the measures of weights whose turn it is not: every nth time, from the nth on."""
        recent = set()
        for key in self._plan.of_weights & current.wanted.keys():
            nth, (times, since) = self._plan.every_nth(key, current.due), self._taken.get(key, (0, 0))
            self._taken[key] = times, since + 1
            if times >= nth > since + 1:
                recent.add(key)
        return recent

    def _begin(self, begun: Findings, step: int) -> Findings:
        """Begin to finish measurements of weights; return what is known at once."""
        measures = self._plan.measures
        self._taken |= {key: (self._taken[key][0] + 1, 0) for key in {key for key, _ in begun}}
        if begun:
            self._worker.start(lambda: Completed.of(step, begun, measures))
        known = {key: measures[key[0]].at_once(value) for key, value in begun.items()}
        return {key: value for key, value in known.items() if value is not None}

    def _take_completed(self, report: RankReport, trainer: Trainer, in_any_case: bool) -> None:
        """Add to the report what the thread has completed; on a CPU the time that it took was taken from training."""
        report.completed = self._worker.take(in_any_case)
        if report.completed is not None and trains_on_cpu(trainer):
            self._pace.add_background(self._worker.seconds)

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
            askers = (request for key in keys for request in self._plan.askers(key) if not request.for_judge)
            names = dict.fromkeys(request.name for request in askers)
            *first, last = names or [f"what the doctor needs ({', '.join(keys)})"]
            who = f"{', '.join(first)} and {last} are" if first else f"{last} is"
            self._warnings.warn(f"{who} switched off: {reason}")

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
            self._audience.hear_finished(found)
            due = self._plan.due(completed.step)
            self._publish(trainer, completed.step, self._by_concern(found, due), {})

    def _publish(self, trainer: Trainer, step: int, measured: Measured, of_the_run: dict[str, float]) -> None:
        try:
            self._publisher.publish(trainer, step, measured, of_the_run)
        except Exception as error:
            self._warnings.warn_once("what was measured is not all written", in_words(error))

    def _publish_cost(self, trainer: Trainer, spent: float) -> None:
        """Write what the step before took, once it is known."""
        if self._last_measured is not None:
            step, before = self._last_measured
            try:
                self._publisher.write_cost(trainer, step, 1000 * (spent - before), self._pace.share)
            except Exception as error:
                self._warnings.warn_once("what measuring took is not written", in_words(error))

    def _say(self, announcement: str) -> None:
        if announcement and self._warnings.speaks:
            say(f"rnn_diag: {announcement}")

    def _of_the_run(self, ranks: list[RankReport]) -> dict[str, float]:
        schedules = [one.schedule for one in self._plan.enabled(self._disabled)]
        intervals = [
            one.every_n_steps if one.max_overhead is None else self._pace.interval(one.every_n_steps)
            for one in schedules
        ]
        return {
            "rnn_diag/overhead": 100 * max(rank.shares.overhead for rank in ranks),
            "rnn_diag/every_n_steps": float(min(intervals, default=0)),
        }


class _Asked(NamedTuple):
    """A step of which everything was asked of the device, and nothing is read yet."""

    current: MeasuredStep
    report: RankReport
    device_time: DeviceTime


def _stop(current: MeasuredStep) -> None:
    if current.recording is not None:
        current.recording.stop()
