"""Which layers are looked at, and what is said where there are none."""

from __future__ import annotations

import lightning.pytorch as pl
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from rnn_diag.callbacks import (
    DiagnosticWarning,
    Doctor,
    GateSaturation,
    GradientNorms,
    RecurrentSpectrum,
    RNNDiagnostics,
)
from rnn_diag.callbacks.concern import Schedule
from rnn_diag.callbacks.session.plan import Plan, Request
from rnn_diag.measurements.gradients import MeasureGradients
from rnn_diag.reporting.coverage_table import FROZEN

MAX = "gradient_norms/encoder.l0/log10_max"


def test_pattern_without_a_match_is_refused_before_training_and_says_what_there_is(network, batches, trainer):
    model = network()
    with pytest.raises(ValueError, match=r"no recurrent layer matches 'encodr\*'; found: encoder.l0"):
        trainer(RNNDiagnostics(layers="encodr*")).fit(model, batches)
    assert model.losses == []


def test_only_layers_that_match_are_measured(network, batches, trainer):
    run = trainer(GateSaturation(1, layers="*.l1"), RecurrentSpectrum(1, layers="*.l0"))
    run.fit(network(num_layers=2), batches)
    shown = {"/".join(name.split("/")[:2]) for name in run.callback_metrics}
    assert shown == {"saturation/encoder.l1", "spectrum/encoder.l0", "rnn_diag/overhead", "rnn_diag/every_n_steps"}


def test_one_layer_of_a_stack_is_measured_alone(network, batches, trainer, told):
    run = trainer(GradientNorms(1, layers="*.l1"))
    assert told(run, network(num_layers=2), batches) == []
    assert {name.split("/")[1] for name in run.callback_metrics if name.startswith("gradient_norms")} == {"encoder.l1"}


def test_model_without_recurrent_layers_trains_with_a_warning(batches, trainer):
    class Feedforward(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 1)

        def training_step(self, batch, batch_idx):
            return self.layer(batch[0]).mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    run = trainer(RNNDiagnostics(1))
    with pytest.warns(DiagnosticWarning, match="no recurrent layer was found"):
        run.fit(Feedforward(), batches)
    assert run.global_step == 6


@pytest.mark.parametrize("passes_through", [False, True])
def test_a_frozen_layer_lists_the_diagnostics_that_log_of_it(passes_through, network, batches, trainer, tensorboard):
    model = network(lambda *args, **options: nn.Sequential(nn.Linear(3, 3), nn.LSTM(*args, **options)))
    model.encoder.requires_grad_(False)
    model.encoder[0].requires_grad_(passes_through)
    run = trainer(RNNDiagnostics(1), logger=tensorboard)
    expected = Plan([Request("gradient_norms", Schedule(), (MeasureGradients(),))], model).rows({})
    assert [(row.captured, row.diagnostics) for row in expected] == [(FROZEN, ())]
    run.fit(model, batches)
    logged = {name.split("/")[0] for name in run.callback_metrics if "/encoder.1.l0/" in name}
    assert ("gradient_norms" in logged) is passes_through
    written = EventAccumulator(tensorboard.log_dir, {"tensors": 0}).Reload().Tensors("rnn_diag/coverage/text_summary")
    assert ("gradient_norms" in written[0].tensor_proto.string_val[0].decode()) is passes_through


class LeakyRNN(nn.Module):
    """A recurrent module of a kind that nobody knows."""

    def __init__(self):
        super().__init__()
        self.hidden_size, self.weight_hh, self.weight_ih = 5, nn.Linear(5, 5), nn.Linear(3, 5)

    def forward(self, inputs):
        state, states = inputs.new_zeros(len(inputs), 5), []
        for step in inputs.unbind(1):
            state = torch.tanh(self.weight_ih(step) + self.weight_hh(state))
            states.append(state)
        return torch.stack(states, 1), state


def test_module_that_cannot_be_followed_is_named_with_the_reason(network, batches, trainer, capsys):
    model = network()
    model.encoder = LeakyRNN()
    run = trainer(RNNDiagnostics(1))
    with pytest.warns(DiagnosticWarning, match=r"can be followed, .*encoder \(.*LeakyRNN\): .*register"):
        run.fit(model, batches)
    assert run.global_step == 6
    assert "LeakyRNN" in capsys.readouterr().out


def test_network_built_in_configure_model_is_found(network, batches, trainer):
    built = network()

    class Late(type(built)):
        def __init__(self):
            super().__init__(nn.Identity())

        def configure_model(self):
            self.encoder = built.encoder

    run = trainer(GradientNorms(1))
    run.fit(Late(), batches)
    assert MAX in run.callback_metrics


@pytest.mark.parametrize(("nonlinearity", "listed"), [("relu", False), ("tanh", True)])
def test_a_diagnostic_is_listed_only_for_layers_of_which_it_logs_something(
    nonlinearity, listed, network, batches, trainer, capsys
):
    run = trainer(GradientNorms(1), GateSaturation(1))
    run.fit(network(nn.RNN, nonlinearity=nonlinearity), batches)
    logged = any(key.startswith("saturation/encoder.l0/") for key in run.callback_metrics)
    assert ("saturation" in capsys.readouterr().out, logged) == (listed, listed)


class Stepwise(nn.Module):
    """A loop over a cell of its own, which nobody registered."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.block = LeakyCell(), Residual()

    def forward(self, inputs):
        state, states = inputs.new_zeros(inputs.shape[0], 5), []
        for x in inputs.unbind(1):
            state = self.cell(x, state)
            states.append(state)
        state = self.block(self.block(self.block(self.block(state))))
        return torch.stack(states, 1), state


class LeakyCell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read, self.recur = nn.Linear(3, 5), nn.Linear(5, 5)

    def forward(self, x, h):
        return 0.5 * h + 0.5 * (self.read(x) + self.recur(h)).tanh()


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(5, 5)

    def forward(self, x):
        return x + self.inside(x)


@pytest.fixture
def stepwise(network):
    model = network()
    model.encoder = Stepwise()
    return model


def test_a_cell_that_nobody_registered_is_found_at_the_first_measured_step(stepwise, batches, trainer, capsys):
    run = trainer(RNNDiagnostics(1, layers="encoder.cell.*"))
    run.fit(stepwise, batches)
    assert "gradient_norms/encoder.cell.l0/log10_first_to_last" in run.callback_metrics
    out = " ".join(capsys.readouterr().out.split())
    assert out.count("encoder.cell.l0") == 1 and "every call; followed by its" in out
    again = trainer(RNNDiagnostics(1))
    again.fit(stepwise, batches)
    assert "gradient_norms/encoder.cell.l0/log10_max" in again.callback_metrics


def test_what_was_looked_at_and_is_no_recurrence_with_inputs_is_said(stepwise, batches, trainer):
    doctor = Doctor(1)
    trainer(doctor).fit(stepwise, batches)
    assert sorted(doctor.report.vitals) == ["encoder.block", "encoder.cell.l0"]
    (finding,) = [one for one in doctor.report.findings if one.layer == "encoder.block"]
    assert finding.id == "not_followed" and "no input is new at each call" in finding.meaning


def test_nothing_is_looked_for_where_it_is_not_wanted(stepwise, batches, trainer, told):
    run = trainer(GradientNorms(1, discover=False))
    (message,) = told(run, stepwise, batches)
    assert "no recurrent layer can be followed, so nothing is measured: encoder.cell (LeakyCell)" in message
    with pytest.raises(TypeError, match="discover='no'; expected True or False"):
        GradientNorms(discover="no")


def test_nothing_is_measured_any_more_where_nothing_was_found(network, batches, trainer, told):
    model = network()
    model.encoder = Stepwise()
    model.encoder.forward = lambda inputs: (
        inputs.new_zeros(*inputs.shape[:2], 5),
        model.encoder.block(inputs.new_zeros(len(inputs), 5)),
    )
    run = trainer(RNNDiagnostics(1))
    (message,) = told(run, model, batches)
    assert "nothing is measured" in message and run.global_step == 6


def test_the_search_ends_after_some_measured_steps(stepwise):
    plan = Plan([Request("norms", Schedule(), (MeasureGradients(),))], stepwise)
    assert plan.is_searching and plan.due(0)
    for _ in range(3):
        plan.take_up(plan.recording(plan.due(0)).start().stop())
    assert not plan.is_searching
    plan.is_given_up = True
    assert not plan.due(0)
