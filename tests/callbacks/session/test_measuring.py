"""What one rank measures at a step, and what it leaves out."""

from __future__ import annotations

import gc
import math
import re
import warnings
import weakref

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from rnn_diag.callbacks import (
    DiagnosticWarning,
    Doctor,
    GradientNorms,
    MemoryHorizon,
    RNNDiagnostics,
)
from rnn_diag.capture.calls import LayerCall
from rnn_diag.measurements.gradients import MeasureGradients
from rnn_diag.source import LayerSource
from rnn_diag.trace import Trace

MAX = "gradient_norms/encoder.l0/log10_max"


def test_failing_measure_is_switched_off_with_one_warning_and_the_others_go_on(network, batches, trainer, monkeypatch):
    def fail(self, trace, units):
        raise FloatingPointError("no such number")

    monkeypatch.setattr(MeasureGradients, "pending", fail)
    run = trainer(RNNDiagnostics(1))
    with pytest.warns(DiagnosticWarning) as caught:
        run.fit(network(), batches)
    said = [str(w.message) for w in caught if w.category is DiagnosticWarning]
    (line,) = said
    where = (
        r"FloatingPointError in test_measuring.py:\d+ fail\(\): no such number; set RNN_DIAG_RAISE=1 to see the stack"
    )
    assert re.fullmatch(f"rnn_diag: gradient_norms is switched off: {where}", line)
    assert run.global_step == 6
    assert MAX not in run.callback_metrics
    assert "spectrum/encoder.l0/input/sigma_max" in run.callback_metrics


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_an_empty_batch_is_passed_over_and_the_next_one_is_measured(kind, network, trainer):
    model = network(kind)
    inputs, targets = torch.randn(4, 6, 3), torch.randn(4, 1)
    run = trainer(RNNDiagnostics(1, lyapunov=True), logger=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DiagnosticWarning)
        run.fit(model, DataLoader([(inputs[:0], targets[:0]), (inputs, targets)], batch_size=None))
    assert run.global_step == 2
    assert run.callback_metrics[MAX].isfinite()
    assert any(name.startswith("memory_horizon") for name in run.callback_metrics)


def test_manual_optimisation_with_two_losses_measures_each_layer_in_its_own_backward_pass(
    batches, trainer, tensorboard, events
):
    class Two(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.first, self.second = nn.LSTM(3, 5, batch_first=True), nn.GRU(3, 4, batch_first=True)
            self.direct = []

        def training_step(self, batch, batch_idx):
            for optimizer, layer in zip(self.optimizers(), (self.first, self.second), strict=True):
                output = layer(batch[0])[0]
                output.retain_grad()
                self.manual_backward(output[:, -1].square().sum())
                self.direct.append(output.grad[:, -1].double().norm(dim=1).mean().log10().item())
                optimizer.step()
                optimizer.zero_grad()
            self.first(batch[0])  # a forward without a backward

        def configure_optimizers(self):
            return [torch.optim.SGD(layer.parameters(), 0.01) for layer in (self.first, self.second)]

    model = Two()
    run = trainer(GradientNorms(2, None), logger=tensorboard)
    run.fit(model, batches)
    assert run.global_step == 12
    log = events(tensorboard)
    for place, layer in enumerate(("first", "second")):
        shown = log.Scalars(f"gradient_norms/{layer}.l0/log10_max")
        assert [event.step for event in shown] == [0, 2, 4]
        expected = model.direct[place::2][::2]
        assert [event.value for event in shown] == pytest.approx(expected, abs=1e-4)


def test_weights_that_are_nan_have_the_spectrum_nan_and_training_goes_on(batches, trainer, network):
    model = network()
    nn.init.constant_(model.encoder.weight_hh_l0, math.nan)
    run = trainer(RNNDiagnostics(1))
    run.fit(model, batches)
    assert run.global_step == 6
    assert math.isnan(run.callback_metrics["spectrum/encoder.l0/input/spectral_radius"])
    assert run.callback_metrics["gradient_norms/encoder.l0/non_finite"] == 1


@pytest.mark.parametrize("suite", [(GradientNorms, MemoryHorizon), (MemoryHorizon, GradientNorms)])
def test_all_that_reads_gradients_of_a_step_shares_one_sweep(suite, network, batches, trainer, monkeypatch):
    swept = []
    for name in ("sweep", "sweep_with_targets"):
        run_sweep = getattr(LayerSource, name)
        monkeypatch.setattr(LayerSource, name, lambda *given, run=run_sweep: swept.append(1) or run(*given))
    run = trainer(*(callback(1, sequences=None, max_overhead=None) for callback in suite), max_steps=3)
    run.fit(network(), batches)
    assert run.callback_metrics["memory_horizon/encoder.l0/steps"].isfinite()
    assert run.callback_metrics[MAX].isfinite()
    assert len(swept) == run.global_step


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_nothing_of_a_measured_step_is_left_when_the_next_one_begins(kind, network, batches, trainer, monkeypatch):
    made: list[weakref.ref[object]] = []
    for one in (LayerSource, LayerCall):

        def noted(self, *given, init=one.__init__, **named):
            made.append(weakref.ref(self))
            init(self, *given, **named)

        monkeypatch.setattr(one, "__init__", noted)
    alive: list[int] = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, *_):
            alive.append(sum(one() is not None for one in made))

    model = network()
    model.encoder = kind(3, 5, num_layers=2, bidirectional=False, batch_first=True)
    gc.collect()
    gc.disable()
    try:
        trainer(RNNDiagnostics(1, sequences=2), Doctor(1, max_overhead=None), Watch()).fit(model, batches)
    finally:
        gc.enable()
    assert len(made) > 6
    assert alive == [0] * 6


@pytest.mark.parametrize("is_enabled", [True, False])
def test_the_collector_rests_while_a_step_is_measured_and_is_as_it_was_afterwards(
    network, batches, trainer, monkeypatch, is_enabled
):
    during: list[bool] = []
    measure = MeasureGradients.pending
    monkeypatch.setattr(MeasureGradients, "pending", lambda *args: (during.append(gc.isenabled()), measure(*args))[1])
    if not is_enabled:
        gc.disable()
    try:
        trainer(GradientNorms(1)).fit(network(), batches)
        assert during and not any(during) and gc.isenabled() is is_enabled
    finally:
        gc.enable()


def test_no_collection_meets_what_a_measured_step_has_made(network, batches, trainer, monkeypatch):
    """What survives one counts towards the full collections, which take as long as several measured steps."""
    made: list[weakref.ref[Trace]] = []
    met: list[int] = []
    original, threshold = Trace.__init__, gc.get_threshold()

    def noted(trace, *arguments):
        made.append(weakref.ref(trace))
        original(trace, *arguments)

    def collecting(phase, info):
        met.append(sum(one() is not None for one in made))

    monkeypatch.setattr(Trace, "__init__", noted)
    gc.callbacks.append(collecting)
    gc.set_threshold(1)
    try:
        trainer(RNNDiagnostics(1)).fit(network(), batches)
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(collecting)
    assert len(made) >= 6 and met and not any(met)
