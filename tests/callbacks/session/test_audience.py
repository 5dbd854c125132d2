"""The verdict is written whether anybody subscribes or not, and one that fails costs the others nothing."""

from __future__ import annotations

import pytest

from rnn_diag.callbacks import DiagnosticWarning, GateSaturation
from rnn_diag.callbacks.session import audience
from tests.callbacks.test_subscriber import Listener


def test_the_verdict_is_written_without_a_subscriber(sick, batches, trainer, tensorboard, events):
    trainer(GateSaturation(2, max_overhead=None), logger=tensorboard).fit(sick, batches)
    assert events(tensorboard).Tensors("rnn_diag/verdict")[0].step == 0


def test_of_two_subscribers_one_that_fails_leaves_the_other_its_steps(sick, batches, trainer, tensorboard, events):
    class Failing(Listener):
        role = "failing"

        def before_update(self, trainer, look):
            raise ValueError("cannot")

    failing, listening = Failing(), Listener()
    run = trainer(failing, listening, logger=tensorboard)
    with pytest.warns(DiagnosticWarning, match="the failing is switched off: ValueError"):
        run.fit(sick, batches)
    assert failing.reports == []
    assert [report.step for report in listening.reports if not report.is_again] == [0, 2, 4]
    assert events(tensorboard).Tensors("rnn_diag/verdict")


def test_a_step_is_judged_by_the_modules_that_its_recording_found(
    sick, batches, trainer, tensorboard, events, monkeypatch
):
    monkeypatch.setattr(audience, "find_recurrent", None)
    trainer(GateSaturation(2, max_overhead=None), logger=tensorboard).fit(sick, batches)
    assert events(tensorboard).Tensors("rnn_diag/verdict")[0].step == 0
