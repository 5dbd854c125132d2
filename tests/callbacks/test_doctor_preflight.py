"""What is said before the first weight changes, and which starts are refused."""

from __future__ import annotations

import logging

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from rnn_diag.callbacks import Doctor, GradientNorms
from rnn_diag.callbacks.doctor_preflight import Refused
from rnn_diag.doctor import Report
from rnn_diag.interventions.initialization import chrono


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
    assert Report.read(tmp_path / "rnn_diag" / "version_0" / "doctor.json").findings[0].id == "stuck_gate"


@pytest.mark.parametrize(("word", "steps"), [("report", 6), ("critical", 6)])
def test_a_start_that_is_not_as_bad_is_reported_with_reach_bias_and_cost_and_goes_on(
    word, steps, sick, batches, trainer, capsys, told
):
    run = trainer(GradientNorms(1), Doctor(1, preflight=word))
    told(run, sick, batches)
    assert run.global_step == steps
    printed = capsys.readouterr().out
    assert printed.index("Every layer and direction") < printed.index("What the doctor found at step 5")
    assert "predicted" in printed and "bias" in printed


def test_what_the_preflight_report_said_is_not_warned_of_again(sick, batches, trainer, capsys, told):
    assert told(trainer(Doctor(1, preflight="report")), sick, batches) == []
    assert capsys.readouterr().out.count("stuck_gate") == 2  # at the start and at the end


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


def test_under_manual_optimisation_the_first_batch_is_looked_at_as_a_whole(network, batches, trainer, capsys, told):
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


def test_a_preflight_that_fails_is_left_out_and_training_goes_on(network, batches, trainer, monkeypatch, told):
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
