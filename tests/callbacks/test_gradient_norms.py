"""Gradients over time, in a logger after a fit."""

from __future__ import annotations

import math

import pytest
import torch
from tensorboard.util import tensor_util
from torch import nn

import rnn_diag.nn
from rnn_diag.callbacks import GradientNorms, RecurrentSpectrum


def tensors(log, tag):
    return [tensor_util.make_ndarray(event.tensor_proto) for event in log.Tensors(tag)]


def test_linear_recurrence_shows_its_weight_to_the_steps_remaining(batches, trainer, network):
    model = network(rnn_diag.nn.RNN, nonlinearity="identity")
    nn.init.eye_(model.encoder.weight_hh_l0).data.mul_(0.5)
    run = trainer(GradientNorms(1), RecurrentSpectrum(1), limit_train_batches=1)
    run.fit(model, batches)
    values = {tag: value.item() for tag, value in run.callback_metrics.items()}
    assert values["gradient_norms/encoder.l0/slope_nats_per_step"] == pytest.approx(math.log(0.5), rel=1e-5)
    assert values["gradient_norms/encoder.l0/log10_first_to_last"] == pytest.approx(5 * math.log10(0.5), rel=1e-5)
    assert values["gradient_norms/encoder.l0/exact_zero"] == 0
    assert values["spectrum/encoder.l0/hidden/spectral_radius"] == pytest.approx(0.5)
    assert values["spectrum/encoder.l0/hidden/sigma_max"] == pytest.approx(0.5)
    assert values["spectrum/encoder.l0/hidden/henrici"] == pytest.approx(0, abs=1e-6)


def test_norms_are_those_of_autograd_on_the_last_output(batches, trainer, network):
    model = network()
    inputs, targets = next(iter(batches))
    output, _ = model.encoder(inputs)
    last = output[:, -1].detach().requires_grad_()
    (model.head(last) - targets).square().mean().backward()
    expected = last.grad.norm(dim=1).mean().log10().item()
    model.zero_grad()
    run = trainer(GradientNorms(1), limit_train_batches=1)
    run.fit(model, batches)
    assert run.callback_metrics["gradient_norms/encoder.l0/log10_max"].item() == pytest.approx(expected, rel=1e-5)


def test_the_tabs_profile_ends_with_the_last_step_read(network, batches, trainer, tensorboard, events):
    model = network(rnn_diag.nn.RNN, nonlinearity="identity")
    nn.init.eye_(model.encoder.weight_hh_l0).data.mul_(0.1)
    trainer(GradientNorms(1), logger=tensorboard, limit_train_batches=1).fit(model, batches)
    (profile,) = tensors(events(tensorboard), "rnn_diag/encoder.l0/grad")
    assert profile[0] - profile[0, -1] == pytest.approx([-5, -4, -3, -2, -1, 0], abs=2e-2)
    assert (profile[1] <= profile[0]).all()
    assert (profile[0] <= profile[2]).all()


@pytest.mark.parametrize("weight", [1.0, 0.1])
def test_the_gradient_at_the_edge_of_a_window_is_shown_where_a_state_was_carried(weight, network, batches, trainer):
    model = network(rnn_diag.nn.RNN, nonlinearity="identity")
    nn.init.eye_(model.encoder.weight_hh_l0).data.mul_(weight)
    cut = "gradient_norms/encoder.l0/log10_at_cut"
    run = trainer(GradientNorms(1), limit_train_batches=1)
    run.fit(model, batches)
    assert cut not in run.callback_metrics

    def carried(batch, batch_idx):
        return model.head(model.encoder(batch[0], torch.ones(1, 4, 5))[0][:, -1]).square().mean()

    model.training_step = carried
    run = trainer(GradientNorms(1), limit_train_batches=1)
    nn.init.eye_(model.encoder.weight_hh_l0).data.mul_(weight)
    run.fit(model, batches)
    assert run.callback_metrics[cut].item() == pytest.approx(5 * math.log10(weight), abs=1e-4)


def test_nothing_is_cut_where_the_gradient_goes_on_into_what_made_the_state(network, batches, trainer):
    model = network()
    model.bridge = nn.Linear(3, 5)

    def decoded(batch, batch_idx):
        state = model.bridge(batch[0][:, 0]).unsqueeze(0)
        return model.head(model.encoder(batch[0], (state, state))[0][:, -1]).square().mean()

    model.training_step = decoded
    run = trainer(GradientNorms(1), limit_train_batches=1)
    run.fit(model, batches)
    assert "gradient_norms/encoder.l0/log10_max" in run.callback_metrics
    assert "gradient_norms/encoder.l0/log10_at_cut" not in run.callback_metrics
