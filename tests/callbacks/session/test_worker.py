"""What takes long is computed while training goes on, and published under the step it belongs to."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch

from rnn_diag.callbacks import GateSaturation, RecurrentSpectrum
from rnn_diag.callbacks.session.worker import Worker
from rnn_diag.measurements.weights import MeasureWeights

SIGMA = "spectrum/encoder.l0/forget/sigma_max"


def test_what_is_under_way_is_not_waited_for_unless_asked():
    worker, may_end = Worker(), threading.Event()
    worker.start(lambda: may_end.wait(10) and threading.current_thread() is not threading.main_thread())
    assert worker.take(in_any_case=False) is None
    assert worker.is_busy
    with pytest.raises(RuntimeError, match="something else is being computed"):
        worker.start(lambda: True)
    may_end.set()
    assert worker.take(in_any_case=True) is True
    assert worker.take(in_any_case=True) is None
    worker.close()


def test_it_has_rested_once_it_took_no_more_than_its_share():
    worker = Worker()
    assert worker.has_rested(0.01)
    worker.start(lambda: sum(range(10**6)))
    worker.take(in_any_case=True)
    assert worker.seconds > 0
    assert not worker.has_rested(1e-9)
    assert worker.has_rested(1e9)
    worker.close()


@pytest.mark.paced
def test_on_a_cpu_the_thread_rests(network, batches, trainer, tensorboard, events, monkeypatch):
    monkeypatch.setattr(Worker, "has_rested", lambda self, share: self.seconds == 0)
    run = trainer(RecurrentSpectrum(1, max_overhead=0.99), logger=tensorboard)
    run.fit(network(), batches)
    steps = [e.step for e in events(tensorboard).Scalars(SIGMA)]
    assert steps == [0]


def test_errands_are_done_in_order_and_their_seconds_told_once():
    worker, did = Worker(), []
    for number in range(3):
        worker.run(lambda number=number: did.append(sum(range(10**5)) and number))
    assert worker.done(in_any_case=True) > 0
    assert did == [0, 1, 2]
    assert worker.is_idle
    assert worker.done(in_any_case=True) == 0
    worker.close()


def test_an_end_waits_for_errands_but_not_for_ever(monkeypatch):
    monkeypatch.setattr("rnn_diag.callbacks.session.worker.PATIENCE", 0.2)
    worker, did, may_end = Worker(), [], threading.Event()
    worker.run(lambda: did.append("short"))
    worker.start(lambda: may_end.wait(10))
    worker.run(lambda: did.append("behind something long"))
    assert not worker.is_idle
    worker.close()
    assert did == ["short"]
    may_end.set()


def test_what_was_measured_before_an_error_ended_the_run_is_written(network, batches, trainer, tensorboard, events):
    class Broken(type(network())):
        def training_step(self, batch, batch_idx):
            if batch_idx == 3:
                raise KeyError("broken")
            return super().training_step(batch, batch_idx)

    model = network()
    model.__class__ = Broken
    with pytest.raises(KeyError, match="broken"):
        trainer(GateSaturation(1), logger=tensorboard).fit(model, batches)
    assert [one.step for one in events(tensorboard).Tensors("rnn_diag/encoder.l0/gates")] == [0, 1, 2]


def test_a_picture_is_of_the_steps_there_were_when_it_was_asked_for(monkeypatch):
    callback = GateSaturation(1)
    callback.remember("l0", 0, torch.zeros(2, 2).numpy())
    then = callback.as_it_is()
    callback.remember("l0", 1, torch.zeros(2, 2).numpy())
    callback.remember("l1", 1, torch.zeros(2, 2).numpy())
    assert then.histories["l0"].steps == [0] and len(then.histories["l0"].columns) == 1 and "l1" not in then.histories
    assert callback.histories["l0"].steps == [0, 1]


def test_nothing_is_put_on_the_graph():
    worker, weight = Worker(), torch.ones(1, requires_grad=True)
    worker.start(lambda: (weight * 2).requires_grad)
    assert worker.take(in_any_case=True) is False
    worker.close()


def slow(monkeypatch, may_end: threading.Event) -> None:
    complete = MeasureWeights.complete
    monkeypatch.setattr(MeasureWeights, "complete", lambda self, found: may_end.wait(10) and complete(self, found))


def test_training_does_not_wait_and_what_comes_late_is_filed_under_its_step(
    network, batches, trainer, tensorboard, events, monkeypatch
):
    may_end = threading.Event()
    slow(monkeypatch, may_end)
    model = network()
    monkeypatch.setattr(type(model), "on_train_batch_end", lambda *a: a[-1] == 5 and may_end.set(), raising=False)
    run = trainer(RecurrentSpectrum(1), GateSaturation(1), logger=tensorboard)
    run.fit(model, batches)
    log = events(tensorboard)
    assert log.Scalars(SIGMA)[0].step == 0
    assert len(log.Scalars(SIGMA)) <= 2  # those that came while the thread was busy are left out
    assert [e.step for e in log.Scalars("saturation/encoder.l0/forget/left")] == [0, 1, 2, 3, 4, 5]
    first = torch.linalg.matrix_norm(network().encoder.weight_hh_l0[5:10].double(), 2).item()
    assert log.Scalars(SIGMA)[0].value == pytest.approx(first, rel=1e-6)  # of the weights as they were


def test_without_a_limit_every_step_is_measured(network, batches, trainer, tensorboard, events):
    trainer(RecurrentSpectrum(1, max_overhead=None), logger=tensorboard).fit(network(), batches)
    assert [e.step for e in events(tensorboard).Scalars(SIGMA)] == [0, 1, 2, 3, 4, 5]


def test_failure_in_the_thread_switches_the_diagnostic_off(network, batches, trainer, monkeypatch):
    def fail(self, found):
        raise ArithmeticError("cannot")

    monkeypatch.setattr(MeasureWeights, "complete", fail)
    run = trainer(RecurrentSpectrum(1), GateSaturation(1))
    with pytest.warns(
        UserWarning, match=r"spectrum is switched off: ArithmeticError in test_worker.py:\d+ fail\(\): cannot"
    ):
        run.fit(network(), batches)
    assert SIGMA not in run.callback_metrics
    assert "saturation/encoder.l0/forget/left" in run.callback_metrics


def test_no_thread_is_left_and_the_callback_can_be_copied(network, batches, trainer):
    callback = RecurrentSpectrum(1, transient=True)
    run = trainer(callback)
    run.fit(network(), batches)
    pickle.dumps(callback)
    copy.deepcopy(callback)
    assert run.callback_metrics["spectrum/encoder.l0/forget/log10_transient_growth"] >= 0
    assert run.callback_metrics["spectrum/encoder.l0/forget/numerical_radius"] > 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rnn_diag") and thread.is_alive()]
