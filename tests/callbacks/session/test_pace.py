"""Measuring keeps to its share of the training time: by the clock of a simulated run, in which nothing is measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate, pairwise

import pytest

from rnn_diag.callbacks import GateSaturation, GradientNorms
from rnn_diag.callbacks.concern import Schedule
from rnn_diag.callbacks.session.pace import BACKGROUND, PICTURES, Pace, Shares
from rnn_diag.callbacks.session.worker import Worker

pytestmark = pytest.mark.paced

LENGTH, COST, FIRST = 0.01, 0.02, 0.08
"""Seconds of a step, of measuring one, and of measuring the first."""


class Run:
    """A run with one rank, or several, whose clocks are told what time it is.

    Args:
        limit: The share that measuring may take.
        every: Steps between measured ones, as asked for.
        ranks: How many.
        cost: What measuring a step costs on a rank, and by how much recording prolongs it.
        length: What a step takes.
    """

    def __init__(
        self,
        limit: float | None = 0.02,
        every: int = 1,
        ranks: int = 1,
        cost: Callable[[int, int], float] = lambda step, rank: COST,
        length: Callable[[int], float] = lambda step: LENGTH,
        recording: float = 0.0,
        picture: float = 0.0,
    ) -> None:
        self.now = [0.0] * ranks
        self.paces = [Pace(limit, every, lambda rank=rank: self.now[rank]) for rank in range(ranks)]
        self.schedule = Schedule(every, max_overhead=limit)
        self.cost, self.length, self.recording, self.picture = cost, length, recording, picture
        self.measured: list[int] = []
        self.said: list[str] = []
        self.spent: list[float] = []
        self.bare: list[float] = []
        self.steps = 0
        self.drawn = 0.0

    def go(self, steps: int) -> Run:
        """Train."""
        for step in range(self.steps, self.steps + steps):
            for pace in self.paces:
                pace.step_starts()
            (due,) = {pace.is_due(self.schedule, step) for pace in self.paces}
            before = self.now[0]
            self._advance(self.drawn)
            self.drawn = 0.0
            if due:
                self.measured.append(step)
                for pace in self.paces:
                    pace.measures(step, [self.schedule])
            self._advance(self.length(step) + (self.recording if due else 0.0))
            if due:
                self._measure(step)
            self.bare.append(self.length(step))
            self.spent.append(self.now[0] - before - self.length(step))
        self.steps += steps
        return self

    def _measure(self, step: int) -> None:
        costs = [FIRST if step == 0 else self.cost(step, rank) for rank in range(len(self.paces))]
        blocks = [pace.measuring() for pace in self.paces]
        for block in blocks:
            block.__enter__()
        self.now = [now + 0.8 * cost for now, cost in zip(self.now, costs, strict=True)]
        self.now = [max(self.now)] * len(self.now)
        shares = [pace.read() for pace in self.paces]
        self.said += filter(None, [pace.agree(shares) for pace in self.paces][:1])
        self.now = [now + 0.2 * cost for now, cost in zip(self.now, costs, strict=True)]
        for block in blocks:
            block.__exit__(None, None, None)
        if self.picture and self.paces[0].may_draw():  # on one processor the background takes its time from training
            self.drawn = self.picture
            self.paces[0].drew(self.picture)

    def _advance(self, seconds: float) -> None:
        self.now = [now + seconds for now in self.now]

    def share(self, start: int, stop: int | None = None) -> float:
        """Return the share of the time of these steps that was spent on measuring."""
        spent, bare = sum(self.spent[start:stop]), sum(self.bare[start:stop])
        return spent / (spent + bare)

    def worst(self, window: int, start: int = 1) -> float:
        """Return the largest share of all windows of so many steps."""
        spent, bare = ([0.0, *accumulate(one)] for one in (self.spent, self.bare))
        ends = ((at, at + window) for at in range(start, self.steps - window))
        return max(1 - (bare[b] - bare[a]) / (bare[b] - bare[a] + spent[b] - spent[a]) for a, b in ends)


def test_a_share_is_kept_from_the_first_measured_step_on():
    run = Run().go(6000)
    assert run.share(1) <= 0.02
    assert run.worst(400) <= 0.02
    assert run.worst(150) <= 0.03
    assert run.measured[0] == 0
    assert len(run.measured) > 0.6 * 6000 * LENGTH * 0.02 / COST  # and not by measuring next to nothing


def test_the_second_measured_step_is_expected_to_cost_what_the_first_did():
    run = Run().go(3000)
    assert run.measured[1] * LENGTH * 0.02 * (1 - PICTURES) == pytest.approx(0.8 * FIRST, rel=0.05)


def test_a_first_step_that_is_slow_itself_does_not_lead_to_a_hurry():
    run = Run(length=lambda step: 5 * LENGTH if step == 0 else LENGTH).go(3000)
    assert run.worst(400) <= 0.02
    assert run.share(1) <= 0.02


def test_the_first_measured_step_is_not_paid_off_and_is_known():
    run = Run().go(4000)
    assert run.paces[0].first == pytest.approx(FIRST)
    assert run.paces[0].share <= 0.02
    assert min(b - a for a, b in zip(run.measured[2:], run.measured[3:], strict=False)) < 200


def test_measured_steps_stay_multiples_of_what_was_asked_for():
    run = Run(every=7).go(6000)
    assert all(step % 7 == 0 for step in run.measured)
    assert len(run.measured) > 10


def test_cheap_measuring_is_as_often_as_asked_for():
    run = Run(every=20, cost=lambda *_: 0.0005).go(6000)
    assert run.measured[2:] == list(range(run.measured[2], 6000, 20))
    assert run.said == []


def test_without_a_limit_every_step_is_measured_that_was_asked_for():
    run = Run(limit=None, every=3).go(30)
    assert run.measured == list(range(0, 30, 3))
    assert run.said == []


def test_what_recording_adds_to_a_step_counts():
    run = Run(recording=COST).go(8000)
    assert run.share(1) <= 0.02
    assert run.paces[0].share == pytest.approx(run.share(1), rel=0.1)


def test_after_a_stall_of_training_nothing_is_made_up_for_in_a_hurry():
    calm = Run().go(6000)
    run = Run(length=lambda step: 60.0 if step == 3000 else LENGTH).go(6000)
    after = [step for step in run.measured if step > 3000]
    usual = calm.measured[-1] - calm.measured[-2]
    assert min(b - a for a, b in pairwise(after)) >= 0.9 * usual
    run.spent[3000] = run.bare[3000] = 0.0
    assert run.worst(400) <= 0.021


def test_after_a_stall_of_measuring_it_finds_back_to_its_old_pace():
    run = Run(cost=lambda step, _: 1.0 if 2000 < step < 2200 else COST).go(20000)
    assert sum(2000 < step < 2200 for step in run.measured) == 1
    usual, late = (
        [b - a for a, b in zip(run.measured, run.measured[1:], strict=False) if first <= a < last]
        for first, last in ((1000, 1800), (15000, 20000))
    )
    assert late[-1] == pytest.approx(usual[-1], rel=0.1)
    assert run.share(1) <= 0.02


def test_costs_that_change_change_the_pace():
    run = Run(cost=lambda step, _: COST if step < 5000 else 4 * COST if step < 15000 else COST / 4).go(25000)
    assert run.worst(2000) <= 0.022
    gaps = {a: b - a for a, b in zip(run.measured, run.measured[1:], strict=False)}
    early, dear, cheap = (max(a for a in gaps if a < end) for end in (5000, 15000, 25000))
    assert gaps[dear] > 2 * gaps[early]
    assert gaps[cheap] < gaps[early]


def test_pictures_have_a_slice_of_their_own_and_do_not_change_the_pace():
    plain, drawing = Run().go(20000), Run(picture=5 * COST).go(20000)
    assert drawing.share(1) <= 0.02
    assert abs(len(plain.measured) - len(drawing.measured)) <= 0.05 * len(plain.measured)
    assert sum(spent > 4 * COST for spent in drawing.spent[1:]) >= 3


def test_ranks_decide_alike_and_by_the_slowest():
    fast, slow = Run().go(5000), Run(cost=lambda *_: 4 * COST).go(5000)
    both = Run(ranks=2, cost=lambda _, rank: (COST, 4 * COST)[rank]).go(5000)
    assert len(slow.measured) <= len(both.measured) + 1 < len(fast.measured)
    assert both.paces[0].stretch == both.paces[1].stretch


def test_what_is_skipped_is_told_once_with_both_intervals():
    run = Run(every=20).go(6000)
    (line,) = run.said
    assert line.startswith("every_n_steps=20, measured every 140: 2 % of the time")
    assert "0.08 s once, for the first measured step" in line
    assert run.paces[0].told() == ""


def test_a_run_that_ends_early_tells_at_its_end():
    run = Run().go(3)
    assert run.said == []
    assert run.paces[0].told().startswith("every_n_steps=1, measured every ")


def test_a_resumed_run_is_as_rare_as_the_one_before_until_it_has_measured():
    pace = Pace(0.02)
    pace.resume(40.0)
    assert pace.stretch == 40.0
    pace.step_starts()
    assert pace.is_due(Schedule(1), 12345)
    pace.measures(12345, [Schedule(1)])
    assert not pace.is_due(Schedule(1), 12346)
    pace.agree([Shares(steps=3.0)])
    assert pace.is_due(Schedule(1), 12348)
    assert not pace.is_due(Schedule(1), 12347)


def test_longer_intervals_are_stretched_alike_and_those_without_a_limit_never():
    pace, often, rarely = Pace(0.02, 5), Schedule(5), Schedule(50)
    pace.step_starts()
    pace.measures(0, [often, rarely])
    pace.agree([Shares(steps=12.0)])
    assert next(step for step in range(1, 200) if pace.is_due(often, step)) == 15
    assert next(step for step in range(1, 200) if pace.is_due(rarely, step)) == 150
    assert pace.is_due(Schedule(5, max_overhead=None), 5)
    assert (pace.interval(5), pace.interval(50)) == (15, 150)


def test_on_a_cpu_the_background_rests():
    pace, worker = Pace(0.02), Worker()
    worker.seconds, worker._started = 1.0, -math.inf
    assert pace.may_compute(worker, on_cpu=True)
    worker.has_rested = lambda share: share > 0.02 * BACKGROUND
    assert not pace.may_compute(worker, on_cpu=True)
    assert pace.may_compute(worker, on_cpu=False)


def test_time_that_the_background_takes_from_training_counts():
    run = Run().go(2000)
    measured = len(run.measured)
    run.paces[0].add_background(100.0)
    assert run.paces[0].share > 0.8
    assert len(run.go(4000).measured) <= measured + 2


def test_measuring_that_takes_too_long_becomes_rarer_in_a_fit(
    network, batches, trainer, tensorboard, events, monkeypatch
):
    said = []
    monkeypatch.setattr("rnn_diag.callbacks.session.session.say", said.append)
    governed, free = GateSaturation(1, max_overhead=1e-6), GradientNorms(2, max_overhead=None)
    trainer(governed, free, logger=tensorboard, max_epochs=4).fit(network(), batches)
    log = events(tensorboard)
    assert [e.step for e in log.Scalars("saturation/encoder.l0/forget/left")] == [0]
    assert len(log.Scalars("gradient_norms/encoder.l0/log10_max")) == 12
    assert log.Scalars("rnn_diag/every_n_steps")[-1].value == 2  # the other continues
    (line,) = said
    assert line.startswith("rnn_diag: every_n_steps=1, measured every ")
