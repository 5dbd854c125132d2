"""Which layers are looked at, and what is said where there are none."""

from __future__ import annotations

import lightning.pytorch as pl
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from rnn_diag.callbacks import (
    DiagnosticWarning,
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
