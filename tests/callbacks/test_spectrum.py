"""Spectra of recurrent matrices, after a fit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnn_diag.callbacks import RecurrentSpectrum


def values_of(run, layer="encoder.l0"):
    prefix = f"spectrum/{layer}/"
    return {tag.removeprefix(prefix): v.item() for tag, v in run.callback_metrics.items() if tag.startswith(prefix)}


def test_a_scaled_rotation_has_one_radius_and_is_normal(batches, trainer, network):
    model = network(nn.RNN, bias=False)
    angle = torch.tensor(0.3)
    with torch.no_grad():
        model.encoder.weight_hh_l0.zero_().fill_diagonal_(0.5)
        model.encoder.weight_hh_l0[:2, :2] = 0.8 * torch.tensor(
            [[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]]
        )
    model.encoder.requires_grad_(False)
    run = trainer(RecurrentSpectrum(1, max_overhead=None), limit_train_batches=1)
    run.fit(model, batches)
    values = values_of(run)
    assert values["hidden/spectral_radius"] == pytest.approx(0.8, rel=1e-5)
    assert values["hidden/sigma_max"] == pytest.approx(0.8, rel=1e-5)
    assert values["hidden/henrici"] == pytest.approx(0.0, abs=1e-3)


def test_every_gate_has_its_own_and_transient_numbers_come_when_asked_for(batches, trainer, network):
    model = network(nn.LSTM)
    run = trainer(RecurrentSpectrum(1, max_overhead=None, transient=True), limit_train_batches=1)
    block = model.encoder.weight_hh_l0.detach().clone()[5:10]  # the optimiser moves it afterwards
    run.fit(model, batches)
    values = values_of(run)
    assert {name.split("/")[0] for name in values} == {"input", "forget", "candidate", "output"}
    assert values["forget/sigma_max"] == pytest.approx(float(torch.linalg.matrix_norm(block, 2)), rel=1e-5)
    assert values["forget/numerical_radius"] <= values["forget/sigma_max"] + 1e-6
    assert values["forget/log10_transient_growth"] >= 0
