"""Shares of gates that are shut and open, after a fit."""

from __future__ import annotations

import torch

from rnn_diag.callbacks import GateSaturation


def test_gates_forced_open_and_shut_are_counted_so(batches, trainer, network):
    model = network()
    with torch.no_grad():
        model.encoder.bias_ih_l0[:5] = -50
        model.encoder.bias_ih_l0[5:10] = 50
    run = trainer(GateSaturation(1), limit_train_batches=1)
    run.fit(model, batches)
    values = {tag.removeprefix("saturation/encoder.l0/"): v.item() for tag, v in run.callback_metrics.items()}
    assert (values["input/left"], values["input/right"], values["input/stuck_shut"]) == (1, 0, 1)
    assert (values["forget/left"], values["forget/right"], values["forget/stuck_open"]) == (0, 1, 1)
