"""What the doctor says of a fit: warnings, metrics, a file, and whether it stops."""

from __future__ import annotations

import copy
import json
import logging
import math
import pickle
import warnings

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn

from rnn_diag.callbacks import DiagnosticWarning, Doctor, GradientNorms
from rnn_diag.callbacks.doctor_preflight import Refused
from rnn_diag.callbacks.lightning import clip_factor
from rnn_diag.doctor import Report
from rnn_diag.interventions.initialization import chrono, orthogonal_per_gate


@pytest.fixture
def sick(network):
    """Return a network whose input gates are always shut."""
    model = network()
    with torch.no_grad():
        model.encoder.bias_ih_l0[:5] = -20.0
    return model


def told(run, model, batches):
    """Return what was warned of in a fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DiagnosticWarning)
        run.fit(model, batches)
    return [str(one.message) for one in caught if issubclass(one.category, DiagnosticWarning)]


def test_a_finding_is_told_once_and_stands_in_the_metrics_and_in_the_file(sick, batches, trainer, tmp_path):
    run = trainer(Doctor(1))
    (line,) = told(run, sick, batches)
    assert line.startswith("rnn_diag: step 0: warning: encoder.l0: stuck_gate: 100% of the input gate's units are shut")
    assert "Try: " in line
    assert run.callback_metrics["doctor/severity"] == 2
    assert run.callback_metrics["doctor/encoder.l0/severity"] == 2
    content = json.loads((tmp_path / "doctor.json").read_text())
    assert content["step"] == 5
    (episode,) = [one for one in content["episodes"] if one["id"] == "stuck_gate"]
    assert (episode["first_step"], episode["last_step"]) == (0, 5)
    assert Report.read(tmp_path / "doctor.json").findings[0].id == "stuck_gate"


def test_a_healthy_network_has_severity_zero_and_no_warning(network, batches, trainer):
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


def test_a_finding_that_comes_up_later_is_told_at_its_step(network, batches, trainer):
    class Breaks(type(network())):
        def on_train_batch_start(self, batch, batch_idx):
            if batch_idx == 3:
                with torch.no_grad():
                    self.encoder.bias_ih_l0[0] = math.inf

    torch.manual_seed(1)
    lines = told(trainer(Doctor(1)), Breaks(nn.LSTM(3, 5, batch_first=True)), batches)
    assert any(line.startswith("rnn_diag: step 3: critical: encoder.l0: non_finite") for line in lines)


@pytest.mark.parametrize(("stop_on", "steps"), [(["non_finite"], 1), (["exploding"], 6), ([], 6)])
def test_a_hopeless_run_is_stopped_only_if_asked_for(stop_on, steps, network, batches, trainer):
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


def test_clipping_by_value_is_the_length_that_is_left():
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert clip_factor(torch.optim.SGD([weight]), 3.0, "value") == pytest.approx(math.sqrt(18) / 5)
    assert clip_factor(torch.optim.SGD([weight]), 9.0, "norm") == 1


def test_a_layer_that_the_model_does_not_call_is_found(network, batches, trainer):
    model = network()
    model.spare = nn.GRU(3, 5)
    doctor = Doctor(1)
    told(trainer(doctor, max_epochs=2), model, batches)
    assert [(one.id, one.layer) for one in doctor.report.of("never_ran")] == [("never_ran", "spare.l0")]


def test_a_model_whose_only_layer_is_not_called_gets_a_report(batches, trainer):
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
    network, batches, trainer, tmp_path
):
    model = network()
    model.encoder = HomeMadeLSTM()
    doctor = Doctor(1)
    told(trainer(doctor), model, batches)
    (finding,) = doctor.report.findings
    assert (finding.id, finding.layer) == ("not_followed", "encoder")
    assert "rnn_diag.register" in finding.advice
    assert Report.read(tmp_path / "doctor.json").findings == doctor.report.findings


def test_a_deep_copy_that_trained_leaves_its_report_at_the_original(sick, batches, trainer):
    doctor = Doctor(1)
    told(trainer(copy.deepcopy(doctor)), sick, batches)
    assert doctor.report.of("stuck_gate")
    assert pickle.loads(pickle.dumps(doctor)).report.of("stuck_gate")


@pytest.mark.parametrize("ours", [True, False])
def test_advice_names_options_only_in_runs_from_the_command_line(ours, network, batches, trainer):
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
def test_a_state_that_is_carried_from_batch_to_batch_is_told_from_one_that_is_data(carries, batches, trainer):
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
def test_networks_that_take_turns_are_not_said_to_get_no_gradient(every_n_steps, batches, trainer):
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


def test_findings_stand_in_tensorboards_text_tab(sick, batches, trainer, tensorboard, events):
    lines = told(trainer(Doctor(1), logger=tensorboard), sick, batches)
    assert len(lines) == 1, lines
    assert "doctor/findings/text_summary" in events(tensorboard).Tags()["tensors"]


def test_a_writer_that_fails_silences_tensorboard_alone(sick, batches, trainer, tensorboard, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rnn_diag.callbacks.doctor_messages.write_verdict", fail)
    doctor = Doctor(1)
    run = trainer(doctor, logger=tensorboard)
    with pytest.warns(DiagnosticWarning) as caught:
        run.fit(sick, batches)
    assert any("the findings of step 0 are not in TensorBoard: OSError" in str(one.message) for one in caught)
    assert doctor.report.findings
    assert run.callback_metrics["doctor/severity"] > 0


def test_it_can_be_pickled_after_a_fit_and_keeps_its_report(sick, batches, trainer):
    doctor = Doctor(1)
    trainer(doctor).fit(sick, batches)
    assert pickle.loads(pickle.dumps(doctor)).report.severity == 2


class Untouched(pl.Callback):
    """Remembers the weights with which every batch began."""

    def __init__(self):
        self.weights = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.weights.append([parameter.detach().clone() for parameter in pl_module.parameters()])


def test_a_run_that_starts_badly_is_refused_before_any_weight_has_changed(sick, batches, trainer, tmp_path):
    before = [parameter.detach().clone() for parameter in sick.parameters()]
    run = trainer(Doctor(1, preflight="warning"))
    with pytest.raises(Refused, match=r"pre-flight: warning: encoder.l0: stuck_gate: .* Try: .*preflight='warning'"):
        run.fit(sick, batches)
    assert all(torch.equal(one, other) for one, other in zip(before, sick.parameters(), strict=True))
    assert Report.read(tmp_path / "doctor.json").findings[0].id == "stuck_gate"


@pytest.mark.parametrize(("word", "steps"), [("report", 6), ("critical", 6)])
def test_a_start_that_is_not_as_bad_is_reported_with_reach_bias_and_cost_and_goes_on(
    word, steps, sick, batches, trainer, capsys
):
    run = trainer(GradientNorms(1), Doctor(1, preflight=word))
    told(run, sick, batches)
    assert run.global_step == steps
    printed = capsys.readouterr().out
    assert printed.index("Every layer and direction") < printed.index("What the doctor found at step 5")
    assert "expected" in printed and "bias" in printed


def test_what_the_preflight_report_said_is_not_warned_of_again(sick, batches, trainer, capsys):
    assert told(trainer(Doctor(1, preflight="report")), sick, batches) == []
    assert capsys.readouterr().out.count("stuck_gate") == 2  # at the start and at the end


def test_layers_with_the_same_finding_are_warned_of_in_one_line(batches, trainer, network):
    model = network(num_layers=2)
    with torch.no_grad():
        model.encoder.bias_ih_l0[:5] = model.encoder.bias_ih_l1[:5] = -20.0
    (line,) = [line for line in told(trainer(Doctor(1)), model, batches) if "stuck_gate" in line]
    assert "encoder.l0: stuck_gate" in line and "(the same at encoder.l1)" in line


def test_the_cost_is_told_in_share_of_training(network, batches, trainer, caplog):
    model = network()
    chrono(model.encoder, 6)
    with caplog.at_level(logging.INFO):
        logging.getLogger("lightning.pytorch").setLevel(logging.INFO)
        trainer(Doctor(1, preflight="report")).fit(model, batches)
    (line,) = [one.getMessage() for one in caplog.records if "pre-flight" in one.getMessage()]
    assert "of training at every 1 steps, and intervals stretch to keep to 2%" in line


def test_accumulated_batches_are_looked_at_after_the_first_backward(sick, batches, trainer):
    with pytest.raises(Refused):
        trainer(Doctor(1, preflight="warning"), accumulate_grad_batches=3).fit(sick, batches)


def test_under_manual_optimisation_the_first_batch_is_looked_at_as_a_whole(network, batches, trainer, capsys):
    class Manual(type(network())):
        def __init__(self, *args):
            super().__init__(*args)
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            self.manual_backward(self.head.weight.sum())  # reaches no recurrent layer
            self.manual_backward(super().training_step(batch, batch_idx))
            self.optimizers().step()

    torch.manual_seed(1)
    model = Manual(nn.LSTM(3, 5, batch_first=True))
    chrono(model.encoder, 6)
    doctor = Doctor(1, preflight="warning")
    assert told(trainer(doctor), model, batches) == []
    assert "Every layer and direction" in capsys.readouterr().out


def test_a_preflight_that_fails_is_left_out_and_training_goes_on(network, batches, trainer, monkeypatch):
    monkeypatch.setattr("rnn_diag.callbacks.doctor_preflight.LayerMeasurements.of", lambda *_: 1 / 0)
    model = network()
    run = trainer(Doctor(1, preflight="critical"))
    lines = told(run, model, batches)
    assert run.global_step == 6
    assert any("pre-flight check is left out" in line and "ZeroDivisionError" in line for line in lines)


def test_weights_are_the_same_with_and_without_a_preflight(network, batches, trainer):
    ends = []
    for callbacks in ([], [Doctor(2, preflight="report")]):
        torch.manual_seed(0)
        model, seen = network(dropout=0.5, num_layers=2), Untouched()
        trainer(*callbacks, seen, gradient_clip_val=1.0, accumulate_grad_batches=2).fit(model, batches)
        weights = [value for step in seen.weights for value in step]
        ends.append([*weights, *model.state_dict().values(), torch.get_rng_state()])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


def test_an_unknown_word_for_the_preflight_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="preflight='severe'; choices: report, advice, warning, critical"):
        Doctor(preflight="severe")


@pytest.mark.parametrize(("threshold", "steps"), [(1.5, 2), (3.5, 6)])
def test_early_stopping_can_watch_the_severity(threshold, steps, sick, batches, trainer):
    stopping = EarlyStopping(
        "doctor/severity", patience=100, divergence_threshold=threshold, check_on_train_epoch_end=True
    )
    run = trainer(Doctor(1), stopping, max_epochs=3, limit_train_batches=2)
    told(run, sick, batches)
    assert run.global_step == steps


def test_a_head_that_is_trained_on_detached_states_is_found(network, batches, trainer):
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
