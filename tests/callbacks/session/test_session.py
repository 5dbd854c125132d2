"""One fit as all callbacks share it: what is recorded when, and that nothing is left behind."""

from __future__ import annotations

import itertools
import pickle

import pytest
from torch import nn

from rnn_diag.callbacks import (
    DiagnosticWarning,
    GateSaturation,
    GradientNorms,
    RNNDiagnostics,
)
from rnn_diag.callbacks.session import session
from rnn_diag.callbacks.session.audience import Audience
from rnn_diag.callbacks.session.device_time import DeviceTime
from rnn_diag.callbacks.session.plan import Plan
from rnn_diag.callbacks.session.session import Session
from rnn_diag.capture import Recording, watching

MAX = "gradient_norms/encoder.l0/log10_max"


def test_recording_that_cannot_start_switches_all_off_and_training_goes_on(network, batches, trainer, monkeypatch):
    def fail(self):
        raise OSError("no")

    monkeypatch.setattr(Recording, "start", fail)
    run = trainer(RNNDiagnostics(1))
    with pytest.warns(DiagnosticWarning) as caught:
        run.fit(network(), batches)
    (line,) = [str(w.message) for w in caught if w.category is DiagnosticWarning]
    names = "gradient_norms, memory_horizon, spectrum and saturation"
    assert line.startswith(f"rnn_diag: {names} are switched off: OSError in test_session.py")
    assert run.global_step == 6


def test_everything_is_as_before_after_a_training_step_that_raised(network, batches, trainer):
    class Broken(type(network())):
        def training_step(self, batch, batch_idx):
            super().training_step(batch, batch_idx)
            raise KeyError("broken")

    model = network()
    model.__class__ = Broken
    forward = nn.LSTM.forward
    callback = RNNDiagnostics(1)
    with pytest.raises(KeyError, match="broken"):
        trainer(callback).fit(model, batches)
    assert nn.LSTM.forward is forward
    assert watching._observers == []
    pickle.dumps(callback)


def test_sanity_check_and_validation_measure_nothing(network, batches, trainer, tensorboard, events):
    run = trainer(GradientNorms(1), logger=tensorboard, num_sanity_val_steps=2, val_check_interval=3)
    run.fit(network(), batches, batches)
    assert [e.step for e in events(tensorboard).Scalars(MAX)] == [0, 1, 2, 3, 4, 5]


def test_callbacks_of_one_trainer_share_one_recording_a_step(network, batches, trainer, monkeypatch):
    started = []
    start = Recording.start
    monkeypatch.setattr(Recording, "start", lambda self: (started.append(self.sequences), start(self))[1])
    trainer(GradientNorms(2, 3), RNNDiagnostics(2, 2), GateSaturation(3, 1)).fit(network(), batches)
    assert started == [3, 3, 1, 3]  # steps 0, 2, 3, 4


def test_batches_that_are_skipped_leave_nothing_behind(network, batches, trainer):
    class Skipping(type(network())):
        def training_step(self, batch, batch_idx):
            return None if batch_idx == 1 else super().training_step(batch, batch_idx)

        def on_train_batch_start(self, batch, batch_idx):
            return -1 if batch_idx == 3 else None

    model = network()
    model.__class__ = Skipping
    run = trainer(RNNDiagnostics(1))
    run.fit(model, batches)
    assert len(model.losses) == 2
    assert watching._observers == []


@pytest.mark.parametrize(
    ("owner", "method"),
    [
        (Audience, "batch_starts"),
        (Plan, "recording"),
        (DeviceTime, "__enter__"),
        (Session, "_ask"),
        (Session, "_read"),
        (Audience, "report"),
    ],
)
def test_a_rank_that_fails_at_a_step_still_joins_the_others(owner, method, network, batches, trainer, monkeypatch):
    """They wait for it at every measured step."""
    joined: list[int] = []
    original, calls = getattr(owner, method), itertools.count(1)

    def fails_at_the_third(*arguments):
        if next(calls) == 3:
            raise ArithmeticError("broken")
        return original(*arguments)

    def together(wire, run, mine):
        joined.append(run.global_step)
        return [mine]

    monkeypatch.setattr(owner, method, fails_at_the_third)
    monkeypatch.setattr(session, "exchanged", together)
    run = trainer(GateSaturation(1, max_overhead=None))
    with pytest.warns(DiagnosticWarning, match="ArithmeticError"):
        run.fit(network(), batches)
    assert joined == [1, 2, 3, 4, 5, 6][: None if method != "recording" else 3]
