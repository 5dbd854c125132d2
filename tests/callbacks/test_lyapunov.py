"""Lyapunov exponents of recurrences whose growth is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import rnn_diag.nn
from rnn_diag.callbacks import LyapunovSpectrum


def numbers(run) -> dict[str, float]:
    prefix = "lyapunov/encoder.l0/"
    return {tag.removeprefix(prefix): v.item() for tag, v in run.callback_metrics.items() if tag.startswith(prefix)}


def test_a_diagonal_linear_recurrence_has_the_logs_of_its_weights(network, batches, trainer):
    model = network(rnn_diag.nn.RNN, nonlinearity="identity")
    model.encoder.weight_hh_l0.data.copy_(torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0]) * 0.5))
    run = trainer(LyapunovSpectrum(1, k=2), limit_train_batches=1)
    run.fit(model, batches)
    found = numbers(run)
    assert found["lambda_1"] == pytest.approx(math.log(0.5), rel=1e-5)
    assert found["lambda_2"] == pytest.approx(math.log(0.5), rel=1e-5)
    assert found["lambda_1_spread"] == pytest.approx(0, abs=1e-3)
    assert found["kaplan_yorke"] == 0


def test_no_more_exponents_than_the_state_has_units(network, batches, trainer):
    run = trainer(LyapunovSpectrum(1, k=50), limit_train_batches=1)
    run.fit(network(nn.GRU), batches)
    assert sum(name[-1].isdigit() for name in numbers(run)) == 5


def test_an_lstms_state_has_its_memory_too(network, batches, trainer):
    run = trainer(LyapunovSpectrum(1, k=50), limit_train_batches=1)
    run.fit(network(nn.LSTM), batches)
    assert sum(name.startswith("lambda_") and name[7:].isdigit() for name in numbers(run)) == 10


@pytest.mark.parametrize(("options", "said"), [({"k": 0}, "k=0; expected"), ({"warmup": -1}, "warmup=-1; expected")])
def test_impossible_options_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        LyapunovSpectrum(**options)
