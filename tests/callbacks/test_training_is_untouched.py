"""Promise 1: with every callback on at every step, training gives the same bits."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

import rnn_diag.nn
from rnn_diag.callbacks import (
    Doctor,
    GateSaturation,
    GateWeights,
    GradientNorms,
    LyapunovSpectrum,
    MemoryHorizon,
    RecurrentSpectrum,
    RNNDiagnostics,
)
from tests.reference.minimal_gated_unit import MinimalGatedUnit

ALL = (RNNDiagnostics, GradientNorms, MemoryHorizon, LyapunovSpectrum, RecurrentSpectrum, GateSaturation, GateWeights)


def trained(network, batches, trainer, callbacks, **options):
    model = network(**options.pop("layer", {}))
    torch.manual_seed(5)
    trainer(*callbacks, **{"max_epochs": 2} | options).fit(model, batches)
    return model.losses, {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulate_grad_batches": 2},
        {"gradient_clip_val": 0.01},
        {"precision": "bf16-mixed", "layer": {"kind": rnn_diag.nn.LSTM, "backend": "explicit"}},
        {"layer": {"kind": nn.GRU, "num_layers": 2, "bidirectional": True, "features": 10}},
        {"layer": {"kind": nn.LSTM, "num_layers": 2, "dropout": 0.3}},
        {"layer": {"kind": rnn_diag.nn.PeepholeLSTM, "num_layers": 2, "dropout": 0.3}},
        {
            "layer": {
                "kind": partial(rnn_diag.nn.Recurrent, MinimalGatedUnit),
                "num_layers": 2,
                "bidirectional": True,
                "features": 10,
            }
        },
    ],
    ids=["plain", "accumulated", "clipped", "bfloat16", "bidirectional", "dropout", "peepholes", "two blocks"],
)
@pytest.mark.filterwarnings("ignore::rnn_diag.callbacks.DiagnosticWarning")
def test_losses_weights_and_random_numbers_are_equal_with_and_without(options, network, batches, trainer):
    bare = trained(network, batches, trainer, [], **{**options})
    measured = trained(network, batches, trainer, [kind(1, None, max_overhead=None) for kind in ALL], **{**options})
    assert bare[0] == measured[0]
    assert all(torch.equal(bare[1][name], measured[1][name]) for name in bare[1])
    assert torch.equal(bare[2], measured[2])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_three_hundred_steps_give_equal_weights_with_everything_on(network, batches, trainer, tensorboard):
    layer = {"kind": nn.LSTM, "num_layers": 2, "dropout": 0.2}
    everything = [*(kind(1, None, max_overhead=None) for kind in ALL), Doctor(1)]
    bare = trained(network, batches, trainer, [], layer=layer, max_epochs=50)
    measured = trained(network, batches, trainer, everything, layer=layer, max_epochs=50, logger=tensorboard)
    assert len(bare[0]) == 300
    assert bare[0] == measured[0]
    assert all(torch.equal(bare[1][name], measured[1][name]) for name in bare[1])
    assert torch.equal(bare[2], measured[2])
