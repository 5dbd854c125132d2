"""What was measured is judged once, whoever asks, and everybody says the same."""

from __future__ import annotations

import json
import warnings
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from tensorboard.util import tensor_util
from torch import nn

from rnn_diag.callbacks import (
    DiagnosticWarning,
    Doctor,
    GateSaturation,
    GradientNorms,
    LyapunovSpectrum,
    MemoryHorizon,
    RecurrentSpectrum,
    RNNDiagnostics,
)
from rnn_diag.callbacks.session import judging
from rnn_diag.interventions.initialization import chrono
from rnn_diag.measurements.call import MeasureCall
from rnn_diag.measurements.gates import MeasureGates
from rnn_diag.measurements.gradients import MeasureGradients
from rnn_diag.measurements.influence import MeasureInfluence
from rnn_diag.measurements.weights import MeasureWeights


@pytest.fixture
def never_written(network):
    """Return a network whose update gate is stuck open, so that nothing is ever written into its state."""
    model = network(nn.GRU)
    with torch.no_grad():
        model.encoder.bias_ih_l0[5:10] = 20.0
    return model


def verdicts(log) -> list[list[dict[str, Any]]]:
    series = log.Tensors("rnn_diag/verdict")
    return [json.loads(tensor_util.make_ndarray(event.tensor_proto).item()) for event in series]


def text(log, tag: str) -> str:
    return log.Tensors(f"{tag}/text_summary")[-1].tensor_proto.string_val[0].decode()


def test_the_suite_says_of_a_gate_that_is_stuck_open_what_the_doctor_says(
    never_written, batches, trainer, tensorboard, events
):
    trainer(RNNDiagnostics(1), logger=tensorboard).fit(never_written, batches)
    log = events(tensorboard)
    (found,) = [one for one in verdicts(log)[0] if one["title"].startswith("stuck_gate")]
    assert (found["severity"], found["layer"]) == ("warning", "encoder.l0")
    assert "warning: stuck_gate" in text(log, "rnn_diag/verdict")
    assert "ok:" not in text(log, "rnn_diag/verdict")


def test_suite_and_doctor_share_one_verdict(never_written, batches, trainer, tensorboard, events, monkeypatch):
    judged = []
    judge = judging.judge
    monkeypatch.setattr(judging, "judge", lambda *arguments: (judged.append(1), judge(*arguments))[1])
    doctor = Doctor(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DiagnosticWarning)
        suite = RNNDiagnostics(1, max_overhead=None, spectra_every_nth=1)
        trainer(suite, doctor, logger=tensorboard).fit(never_written, batches)
    assert len(judged) == 7  # once at each of six steps, and at the end with the weights that were finished last
    log = events(tensorboard)
    assert text(log, "rnn_diag/verdict") == text(log, "doctor/findings")
    standing = {(one.layer, f"{one.id}: {one.meaning}") for one in doctor.report.findings}
    assert {(one["layer"], one["title"]) for one in verdicts(log)[-1]} == standing


@pytest.mark.parametrize(
    ("callback", "finding"),
    [
        (GradientNorms, []),
        (MemoryHorizon, []),
        (RecurrentSpectrum, ["forget_bias_one_of_two"]),
        (GateSaturation, ["stuck_gate"]),
        (LyapunovSpectrum, []),
    ],
)
def test_whatever_is_measured_is_judged_once_a_step(
    callback, finding, never_written, batches, trainer, tensorboard, events, monkeypatch
):
    judged = []
    judge = judging.judge
    monkeypatch.setattr(judging, "judge", lambda *arguments: (judged.append(1), judge(*arguments))[1])
    trainer(callback(2, max_overhead=None), logger=tensorboard).fit(never_written, batches)
    assert len(judged) == 3 + (callback is RecurrentSpectrum)  # three steps, and what was finished at the end
    assert [one["title"].split(":")[0] for one in verdicts(events(tensorboard))[0]] == finding
    assert "rnn_diag/verdict/text_summary" in events(tensorboard).Tags()["tensors"]


def test_a_verdict_goes_by_the_latest_of_what_is_measured_at_other_steps(
    never_written, batches, trainer, tensorboard, events, told
):
    told(trainer(GradientNorms(1), GateSaturation(5), logger=tensorboard), never_written, batches)
    (verdict,) = verdicts(events(tensorboard))
    assert [one["title"].split(":")[0] for one in verdict] == ["stuck_gate"]


def test_a_healthy_network_has_nothing_wrong(network, batches, trainer, tensorboard, events):
    model = network()
    chrono(model.encoder, 6)
    trainer(RNNDiagnostics(1), logger=tensorboard).fit(model, batches)
    assert verdicts(events(tensorboard)) == [[]]
    assert "nothing wrong found in 1 layer" in text(events(tensorboard), "rnn_diag/verdict")


@pytest.mark.parametrize("measure", [MeasureCall, MeasureGradients, MeasureInfluence, MeasureGates, MeasureWeights])
def test_everything_is_measured_once_whoever_asks(measure, network, batches, trainer, monkeypatch):
    calls = []
    pending = measure.pending
    monkeypatch.setattr(measure, "pending", lambda self, *arguments: (calls.append(self), pending(self, *arguments))[1])
    everybody = (RNNDiagnostics(1, max_overhead=None), Doctor(1), GradientNorms(1), GateSaturation(2))
    trainer(*everybody, limit_train_batches=2).fit(network(num_layers=2), batches)
    assert len(calls) == 2 * 2  # layers, steps


def test_the_judge_goes_by_the_thresholds_that_are_shown(network, batches, trainer):
    doctor = Doctor(1)
    run = trainer(GateSaturation(1, low=0.45, high=0.55), doctor, limit_train_batches=1)
    run.fit(network(), batches)
    (vitals,) = doctor.report.vitals.values()
    assert vitals.shut["input"] == pytest.approx(run.callback_metrics["saturation/encoder.l0/input/left"].item())


def test_what_the_background_finishes_last_is_judged_at_the_end(network, batches, trainer):
    model = network(nn.RNN, nonlinearity="tanh")
    doctor = Doctor(1)
    trainer(doctor, limit_train_batches=1).fit(model, batches)
    assert doctor.report.vitals["encoder.l0"].spectral_radius > 0
    assert doctor.report.batches == 1


def test_callbacks_that_look_at_other_layers_and_steps_see_a_whole_verdict(
    network, batches, trainer, tensorboard, events, told
):
    model = network(num_layers=2)
    with torch.no_grad():
        model.encoder.bias_ih_l0[:5] = model.encoder.bias_ih_l1[:5] = -20.0
    doctor = Doctor(3, layers="*.l1")
    lines = told(trainer(RNNDiagnostics(2), doctor, logger=tensorboard), model, batches)
    assert {one.layer for one in doctor.report.of("stuck_gate")} == {"encoder.l1"}
    assert not any("encoder.l0" in line for line in lines)
    for verdict in verdicts(events(tensorboard)):
        assert {one["layer"] for one in verdict if one["title"].startswith("stuck_gate")} == {
            "encoder.l0",
            "encoder.l1",
        }


def test_a_judge_that_fails_is_switched_off_and_the_rest_continues(network, batches, trainer, monkeypatch, told):
    monkeypatch.setattr(judging, "judge", lambda *_: 1 / 0)
    run = trainer(RNNDiagnostics(1), Doctor(1))
    (line,) = told(run, network(), batches)
    assert line.startswith("rnn_diag: the doctor is switched off: ZeroDivisionError in test_judging.py")
    assert run.global_step == 6
    assert "gradient_norms/encoder.l0/log10_max" in run.callback_metrics


def test_a_measure_that_only_the_judge_needs_fails_alone(sick, batches, trainer, monkeypatch, told):
    monkeypatch.setattr(MeasureCall, "pending", lambda *_: 1 / 0)
    run = trainer(RNNDiagnostics(1), Doctor(1))
    (line,) = told(run, sick, batches)
    assert line.startswith("rnn_diag: what the doctor needs (MeasureCall) is switched off: ZeroDivisionError")
    assert "gradient_norms/encoder.l0/log10_max" in run.callback_metrics


class Sparse(pl.LightningModule):
    """Its embedding has sparse gradients, which it clips itself: torch cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 3, sparse=True)
        self.encoder = nn.LSTM(3, 5, batch_first=True)

    def training_step(self, batch, batch_idx):
        return self.encoder(self.embedding(batch[0].abs().long().sum(-1) % 7))[0].square().mean()

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        for parameter in self.parameters():
            parameter.grad *= gradient_clip_val

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_clipping_of_sparse_gradients_is_seen(batches, trainer, told):
    doctor = Doctor(1)
    run = trainer(doctor, gradient_clip_val=1e-5, max_epochs=2)
    told(run, Sparse(), batches)
    assert run.global_step == 12
    assert doctor.report.of("clipping_nearly_always")


def test_an_error_while_clipping_is_noted_ends_no_run(network, batches, trainer, monkeypatch, told):
    monkeypatch.setattr(judging, "clip_factor", lambda *_: 1 / 0)
    run = trainer(Doctor(1), gradient_clip_val=1e-5)
    lines = told(run, network(), batches)
    assert run.global_step == 6
    assert sum("on_before_optimizer_step of Doctor is left out: ZeroDivisionError" in line for line in lines) == 1
