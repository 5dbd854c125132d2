"""What the doctor says of a fit: metrics, a file, and whether it stops."""

from __future__ import annotations

import copy
import json
import math
import pickle

import fsspec
import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers.logger import DummyLogger
from torch import nn

from rnn_diag.callbacks import Doctor, GradientNorms
from rnn_diag.doctor import Report
from rnn_diag.interventions.initialization import chrono, orthogonal_per_gate


def test_a_finding_is_told_once_and_stands_in_the_metrics_and_in_the_file(sick, batches, trainer, tmp_path, told):
    run = trainer(Doctor(1))
    (line,) = told(run, sick, batches)
    assert line.startswith("rnn_diag: step 0: warning: encoder.l0: stuck_gate: 100% of the input gate's units are shut")
    assert "Try: " in line
    assert run.callback_metrics["doctor/severity"] == 2
    assert run.callback_metrics["doctor/encoder.l0/severity"] == 2
    content = json.loads((tmp_path / "rnn_diag" / "version_0" / "doctor.json").read_text())
    assert content["step"] == 5
    (episode,) = [one for one in content["episodes"] if one["id"] == "stuck_gate"]
    assert (episode["first_step"], episode["last_step"]) == (0, 5)
    assert Report.read(tmp_path / "rnn_diag" / "version_0" / "doctor.json").findings[0].id == "stuck_gate"


def test_a_healthy_network_has_severity_zero_and_no_warning(network, batches, trainer, told):
    model = network()
    chrono(model.encoder, 6)
    run = trainer(Doctor(1))
    assert told(run, model, batches) == []
    assert run.callback_metrics["doctor/severity"] == 0


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
def test_it_judges_whichever_callback_drives_the_measurement(first, sick, batches, trainer):
    members = (Doctor(2), GradientNorms(1))
    run = trainer(*(members if first else members[::-1]))
    run.fit(sick, batches)
    assert run.callback_metrics["doctor/severity"] == 2


def test_a_finding_that_comes_up_later_is_told_at_its_step(network, batches, trainer, told):
    class Breaks(type(network())):
        def on_train_batch_start(self, batch, batch_idx):
            if batch_idx == 3:
                with torch.no_grad():
                    self.encoder.bias_ih_l0[0] = math.inf

    torch.manual_seed(1)
    lines = told(trainer(Doctor(1)), Breaks(nn.LSTM(3, 5, batch_first=True)), batches)
    assert any(line.startswith("rnn_diag: step 3: critical: encoder.l0: non_finite") for line in lines)


@pytest.mark.parametrize(("stop_on", "steps"), [(["non_finite"], 1), (["exploding"], 6), ([], 6)])
def test_a_hopeless_run_is_stopped_only_if_asked_for(stop_on, steps, network, batches, trainer, told):
    model = network()
    nn.init.constant_(model.encoder.weight_hh_l0, math.nan)
    run = trainer(Doctor(1, stop_on=stop_on))
    told(run, model, batches)
    assert run.global_step == steps


def test_a_finding_to_stop_on_that_does_not_exist_is_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"stop_on='explodes'; choices: non_finite, .*exploding"):
        Doctor(stop_on=["explodes"])


def test_clipping_of_every_step_is_found_with_its_share(network, batches, trainer):
    doctor = Doctor(1)
    trainer(doctor, gradient_clip_val=1e-5, max_epochs=2).fit(network(num_layers=2), batches)
    (finding,) = doctor.report.of("clipping_nearly_always")
    assert finding.evidence[0].value == 1
    assert doctor.report.vitals["encoder.l0"].clip_steps == 12


def test_a_few_clipped_steps_are_not_nearly_always(network, batches, trainer):
    doctor = Doctor(1)
    trainer(doctor, gradient_clip_val=1e-5).fit(network(), batches)
    assert doctor.report.of("clipping_nearly_always") == []


def test_a_layer_that_the_model_does_not_call_is_found(network, batches, trainer, told):
    model = network()
    model.spare = nn.GRU(3, 5)
    doctor = Doctor(1)
    told(trainer(doctor, max_epochs=2), model, batches)
    assert [(one.id, one.layer) for one in doctor.report.of("never_ran")] == [("never_ran", "spare.l0")]


def test_a_model_whose_only_layer_is_not_called_gets_a_report(batches, trainer, told):
    class Idle(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.spare, self.head = nn.GRU(3, 5), nn.Linear(3, 1)

        def training_step(self, batch, batch_idx):
            return (self.head(batch[0][:, -1]) - batch[1]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    doctor = Doctor(1)
    told(trainer(doctor, max_epochs=2), Idle(), batches)
    assert [(one.id, one.layer) for one in doctor.report.findings] == [("never_ran", "spare.l0")]


class HomeMadeLSTM(nn.Module):
    """A recurrence that nobody registered."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Linear(3, 5)

    def forward(self, batch):
        return self.weight(batch).tanh(), None


def test_layers_of_which_none_can_be_followed_are_reported_with_the_reason_and_what_to_do(
    network, batches, trainer, tmp_path, told
):
    model = network()
    model.encoder = HomeMadeLSTM()
    doctor = Doctor(1)
    told(trainer(doctor), model, batches)
    (finding,) = doctor.report.findings
    assert (finding.id, finding.layer) == ("not_followed", "encoder")
    assert "rnn_diag.register" in finding.advice
    assert Report.read(tmp_path / "rnn_diag" / "version_0" / "doctor.json").findings == doctor.report.findings


def test_a_deep_copy_that_trained_leaves_its_report_at_the_original(sick, batches, trainer, told):
    doctor = Doctor(1)
    told(trainer(copy.deepcopy(doctor)), sick, batches)
    assert doctor.report.of("stuck_gate")
    assert pickle.loads(pickle.dumps(doctor)).report.of("stuck_gate")


@pytest.mark.parametrize("ours", [True, False])
def test_advice_names_options_only_in_runs_from_the_command_line(ours, network, batches, trainer, told):
    (line,) = told(trainer(Doctor(1, command_line=ours)), network(kind=Shut), batches)
    assert ("optimizer.lr=1e-3" in line) is ours
    assert ("model.encoder.reset_parameters()" in line) is not ours
    assert "rnn-diag-train" not in line


class Shut(nn.LSTM):
    """Its input gates are always shut."""

    def reset_parameters(self):
        super().reset_parameters()
        with torch.no_grad():
            self.bias_ih_l0[:5] = -20.0


class Chunks(pl.LightningModule):
    """Goes on, from batch to batch, where the last one ended; or starts every batch from data."""

    def __init__(self, carries):
        super().__init__()
        self.recurrent, self.carries, self.state = nn.RNN(3, 4, batch_first=True), carries, None
        orthogonal_per_gate(self.recurrent)

    def training_step(self, batch, batch_idx):
        data = 0.1 * batch[0][:, 0, :1].repeat(1, 1, 4)
        output, state = self.recurrent(0.01 * batch[0], self.state if self.carries else data)
        self.state = state.detach()
        return output.square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-4)


@pytest.mark.parametrize("carries", [True, False], ids=["carried", "data"])
def test_a_state_that_is_carried_from_batch_to_batch_is_told_from_one_that_is_data(carries, batches, trainer, told):
    doctor = Doctor(2)
    told(trainer(doctor), Chunks(carries), batches)
    assert [one.id for one in doctor.report.findings] == ["truncation_too_short"] * carries


class TakingTurns(pl.LightningModule):
    """Two recurrent networks, each trained at every other batch, and both run at each."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.generator, self.critic = (nn.LSTM(3, 3, batch_first=True) for _ in range(2))
        for one in (self.generator, self.critic):
            chrono(one, 6)

    def training_step(self, batch, batch_idx):
        turn = 1 - batch_idx % 2
        made = self.generator(batch[0])[0]
        judged = self.critic(made.detach() if turn else made)[0]
        optimizer = self.optimizers()[turn]
        optimizer.zero_grad()
        self.manual_backward(judged.square().mean())
        optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.SGD(one.parameters(), lr=0.01) for one in (self.generator, self.critic)]


@pytest.mark.parametrize("every_n_steps", [1, 2], ids=["every turn", "the critic's turns alone"])
def test_networks_that_take_turns_are_not_said_to_get_no_gradient(every_n_steps, batches, trainer, told):
    doctor = Doctor(every_n_steps, max_overhead=None)
    told(trainer(doctor, max_epochs=4), TakingTurns(), batches)
    assert doctor.report.of("no_gradient") == []


def test_weights_are_the_same_with_and_without_it(network, batches, trainer):
    ends = []
    for callbacks in ([], [Doctor(1)]):
        torch.manual_seed(0)
        model = network(dropout=0.5, num_layers=2)
        trainer(*callbacks, gradient_clip_val=1.0).fit(model, batches)
        ends.append([*model.state_dict().values(), torch.get_rng_state()])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


def test_it_can_be_pickled_after_a_fit_and_keeps_its_report(sick, batches, trainer):
    doctor = Doctor(1)
    trainer(doctor).fit(sick, batches)
    assert pickle.loads(pickle.dumps(doctor)).report.severity == 2


@pytest.mark.parametrize(("threshold", "steps"), [(1.5, 2), (3.5, 6)])
def test_early_stopping_can_watch_the_severity(threshold, steps, sick, batches, trainer, told):
    stopping = EarlyStopping(
        "doctor/severity", patience=100, divergence_threshold=threshold, check_on_train_epoch_end=True
    )
    run = trainer(Doctor(1), stopping, max_epochs=3, limit_train_batches=2)
    told(run, sick, batches)
    assert run.global_step == steps


def test_a_head_that_is_trained_on_detached_states_is_found(network, batches, trainer, told):
    class Cut(type(network())):
        def training_step(self, batch, batch_idx):
            return (self.head(self.encoder(batch[0])[0][:, -1].detach()) - batch[1]).square().mean()

    torch.manual_seed(1)
    doctor = Doctor(1)
    told(trainer(doctor), Cut(nn.LSTM(3, 5, batch_first=True)), batches)
    assert doctor.report.findings == ()  # six batches may be a matter of turns
    (line,) = told(trainer(doctor, max_epochs=2), Cut(nn.LSTM(3, 5, batch_first=True)), batches)
    assert "step 9: warning: encoder.l0: no_gradient: The layer ran, and in 10 batches" in line
    assert [one.id for one in doctor.report.findings] == ["no_gradient"]


def test_without_a_logger_that_has_a_folder_every_run_writes_a_file_of_its_own(sick, batches, trainer, tmp_path, told):
    class Elsewhere(DummyLogger):
        save_dir = "runs"  # one for all runs, as some loggers have

    told(trainer(Doctor(1), logger=Elsewhere()), sick, batches)
    first = (tmp_path / "rnn_diag" / "version_0" / "doctor.json").read_text()
    told(trainer(Doctor(1), limit_train_batches=1), sick, batches)
    assert (tmp_path / "rnn_diag" / "version_0" / "doctor.json").read_text() == first
    assert json.loads((tmp_path / "rnn_diag" / "version_1" / "doctor.json").read_text())["step"] == 0


@pytest.mark.parametrize("logs", [True, False])
def test_the_file_goes_to_a_remote_folder_as_lightnings_do(logs, sick, batches, trainer, told):
    class Remote(DummyLogger):
        log_dir = "memory://logs/version_7"

    root = f"memory://root_{logs}"
    told(trainer(Doctor(1), logger=Remote() if logs else False, default_root_dir=root), sick, batches)
    file = Remote.log_dir if logs else f"{root}/rnn_diag/version_0"
    with fsspec.open(f"{file}/doctor.json", "r") as written:
        assert json.load(written)["severity"] == "warning"
