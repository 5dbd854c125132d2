"""Whoever subscribes hears every measured step with its verdict, and what it returns is logged."""

from __future__ import annotations

import pytest

from rnn_diag.callbacks import DiagnosticWarning
from rnn_diag.callbacks.attachment import DiagnosticCallback
from rnn_diag.callbacks.concern import Schedule
from rnn_diag.callbacks.subscriber import Subscriber


class Listener(DiagnosticCallback, Subscriber):
    role = "listener"

    def __init__(self, every_n_steps: int = 2) -> None:
        super().__init__(Schedule(every_n_steps, max_overhead=None))
        self.looks, self.reports = [], []

    def before_update(self, trainer, look):
        self.looks.append((trainer.global_step, look.recording is not None, list(look.layers)))

    def step_measured(self, trainer, report):
        self.reports.append(report)
        return {"listener/found": float(len(report.verdict.findings))}


def test_it_hears_of_a_step_before_the_update_and_of_the_verdict_after_it(sick, batches, trainer):
    listener = Listener()
    run = trainer(listener)
    run.fit(sick, batches)
    assert [step for step, seen, layers in listener.looks if seen and layers == ["encoder.l0"]] == [0, 2, 4]
    steps = [report for report in listener.reports if not report.is_again]
    assert [report.step for report in steps] == [0, 2, 4]
    first = steps[0]
    assert first.measured["encoder.l0"].gates is not None
    assert [one.layer for one in first.coverage] == ["encoder.l0"]
    assert "stuck_gate" in {one.id for one in first.verdict.findings}
    assert run.callback_metrics["listener/found"].item() == len(listener.reports[-1].verdict.findings)


def test_one_that_fails_is_told_nothing_more_and_training_continues(sick, batches, trainer):
    class Failing(Listener):
        def step_measured(self, trainer, report):
            super().step_measured(trainer, report)
            raise KeyError("of its own")

    listener = Failing()
    run = trainer(listener)
    with pytest.warns(DiagnosticWarning, match="the listener is switched off: KeyError in .*'of its own'"):
        run.fit(sick, batches)
    assert len(listener.reports) == 1 and run.global_step == 6
