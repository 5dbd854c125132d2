"""What loggers and callback metrics hold after a fit."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from tensorboard.util import tensor_util
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import rnn_diag.nn
from rnn_diag.callbacks import GateSaturation, GradientNorms, MemoryHorizon, RecurrentSpectrum, RNNDiagnostics
from rnn_diag.reporting.layout import custom_scalars_layout

SIGMOID = {"lstm": ("input", "forget", "output"), "gru": ("reset", "update"), "rnn": ()}
TANH = {"lstm": ("candidate", "cell"), "gru": ("candidate",), "rnn": ("hidden",)}
BLOCKS = {
    "lstm": ("input", "forget", "candidate", "output"),
    "gru": ("reset", "update", "candidate"),
    "rnn": ("hidden",),
}
LAYERS = {
    nn.LSTM: "lstm",
    nn.GRU: "gru",
    nn.RNN: "rnn",
    rnn_diag.nn.LSTM: "lstm",
    rnn_diag.nn.GRU: "gru",
    rnn_diag.nn.PeepholeLSTM: "lstm",
}


def listed(kind: str, layers: list[str]) -> set[str]:
    """Return the tags that the docstrings list, for layers of one kind outside float16."""
    shown = (GradientNorms, MemoryHorizon, RecurrentSpectrum, GateSaturation, RNNDiagnostics)
    documentation = "\n".join(callback.__doc__ for callback in shown)
    lines = re.findall(r"^ *- `([^`]+)`:((?:.|\n(?! *- |\n))*)", documentation, flags=re.MULTILINE)
    tags = {tag for tag, says in lines if not re.search(r"transient=True|float16 only|carried", says)}
    if kind != "lstm":
        tags -= {tag for tag in tags if "/cell_" in tag}
    if kind == "rnn":
        tags -= {tag for tag in tags if tag.endswith(("/gates", "/gate_units", "/gates_over_training"))}
    choices = {"<layer>": layers, "<gate>": SIGMOID[kind], "<tanh>": TANH[kind], "<block>": BLOCKS[kind]}
    for placeholder, names in choices.items():
        tags = {tag.replace(placeholder, name) for tag in tags for name in (names if placeholder in tag else [""])}
    return tags


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"{layer.__module__.split('.')[0]}-{layer.__name__}")
def test_tags_in_tensorboard_are_exactly_those_that_the_docstrings_list(
    layer, network, batches, trainer, tensorboard, events
):
    trainer(RNNDiagnostics(2, max_overhead=None), logger=tensorboard).fit(network(layer, num_layers=2), batches)
    tags = events(tensorboard).Tags()
    written = {tag for kind in ("scalars", "images", "histograms", "tensors") for tag in tags[kind]}
    assert written - {"epoch"} == listed(LAYERS[layer], ["encoder.l0", "encoder.l1"])


def test_every_scalar_stands_once_at_every_measured_step(network, batches, trainer, tensorboard, events):
    trainer(GradientNorms(2), RecurrentSpectrum(3, max_overhead=None), logger=tensorboard).fit(network(), batches)
    log = events(tensorboard)
    assert [e.step for e in log.Scalars("gradient_norms/encoder.l0/log10_max")] == [0, 2, 4]
    assert [e.step for e in log.Scalars("spectrum/encoder.l0/forget/sigma_max")] == [0, 3]
    assert [e.step for e in log.Scalars("rnn_diag/overhead")] == [0, 2, 3, 4]


def test_loggers_and_callback_metrics_hold_the_same_numbers(network, batches, trainer, tensorboard, events, tmp_path):
    table = pl.loggers.CSVLogger(tmp_path, name="table")
    run = trainer(RNNDiagnostics(1, max_overhead=None), logger=[tensorboard, table])
    run.fit(network(), batches)
    log = events(tensorboard)
    rows = list(csv.DictReader(Path(table.log_dir, "metrics.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows if row["rnn_diag/overhead"]] == [0, 1, 2, 3, 4, 5]
    for tag, value in run.callback_metrics.items():
        last = [row for row in rows if row["step"] == "5" and row[tag] != ""]
        assert log.Scalars(tag)[-1].value == pytest.approx(value.item(), nan_ok=True)
        assert [float(row[tag]) for row in last] == pytest.approx([value.item()], nan_ok=True)


def test_checkpoints_and_early_stopping_can_watch_a_diagnostic(network, batches, trainer, tmp_path):
    watched = "gradient_norms/encoder.l0/log10_max"
    best = pl.callbacks.ModelCheckpoint(tmp_path, monitor=watched, every_n_train_steps=2)
    stop = pl.callbacks.EarlyStopping(watched, patience=100)
    run = trainer(best, stop, GradientNorms(2), enable_checkpointing=True, max_epochs=2)
    run.fit(network(), batches, batches)
    assert math.isfinite(best.best_model_score.item())
    assert math.isfinite(stop.best_score.item())
    assert "val/loss" in run.callback_metrics


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


def test_padding_for_a_longer_sequence_that_is_not_looked_at_leaves_no_number_undefined(
    network, batches, trainer, tensorboard
):
    packed = pack_padded_sequence(torch.randn(2, 6, 3), torch.tensor([4, 6]), batch_first=True, enforce_sorted=False)

    class Packing(type(network())):
        def training_step(self, batch, batch_idx):
            return self.encoder(packed)[1][0].square().mean()

    values = {}
    for sequences in (1, None):
        model = network()
        model.__class__ = Packing
        callback = RNNDiagnostics(1, sequences)
        run = trainer(callback, limit_train_batches=1, logger=tensorboard)
        run.fit(model, batches)
        values[sequences] = {tag: value.item() for tag, value in run.callback_metrics.items()}
        gradients, *_, gates = callback.diagnostics
        columns = [*gradients.histories["encoder.l0"].columns, *gates.histories["encoder.l0"].columns]
        assert {column.shape[-1] for column in columns} == {4 if sequences else 6}
        assert not any(np.isnan(column).any() for column in columns)
    assert values[None].keys() - values[1].keys() == {"gradient_norms/encoder.l0/fidelity"}
    assert [tag for tag, value in values[1].items() if math.isnan(value)] == []


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


def test_weights_that_are_nan_have_the_spectrum_nan_and_training_goes_on(batches, trainer, network):
    model = network()
    nn.init.constant_(model.encoder.weight_hh_l0, math.nan)
    run = trainer(RNNDiagnostics(1))
    run.fit(model, batches)
    assert run.global_step == 6
    assert math.isnan(run.callback_metrics["spectrum/encoder.l0/input/spectral_radius"])
    assert run.callback_metrics["gradient_norms/encoder.l0/non_finite"] == 1


def test_pictures_are_drawn_ever_more_rarely_and_once_more_at_the_end(network, batches, trainer, tensorboard, events):
    trainer(GradientNorms(1), logger=tensorboard, max_epochs=2).fit(network(), batches)
    drawn = [event.step for event in events(tensorboard).Images("gradient_norms/encoder.l0/over_training")]
    assert drawn == [0, 1, 2, 4, 7, 11]


def test_custom_scalars_show_ours_unless_the_run_has_its_own(network, batches, trainer, tensorboard, events):
    class Own(pl.Callback):
        def on_train_start(self, trainer, pl_module):
            trainer.logger.experiment.add_custom_scalars({"mine": {"losses": ["Multiline", ["loss"]]}})

    trainer(Own(), RNNDiagnostics(2), logger=tensorboard).fit(network(), batches)
    (layout,) = events(tensorboard).Tensors("custom_scalars__config__")
    assert b"mine" in layout.tensor_proto.string_val[0]


def test_charts_of_the_layout_find_the_tags_there_are(network, batches, trainer, tensorboard, events):
    trainer(RNNDiagnostics(2, max_overhead=None), logger=tensorboard).fit(network(num_layers=2), batches)
    tags = events(tensorboard).Tags()["scalars"]
    layout = custom_scalars_layout(["encoder.l0", "encoder.l1"])
    for category, charts in layout.items():
        layer = category.removeprefix("rnn_diag: ")
        for _, (pattern,) in charts.values():
            found = [tag for tag in tags if re.search(pattern, tag)]
            assert found
            assert all(f"/{layer}/" in tag for tag in found)


def tensors(log, tag):
    return [tensor_util.make_ndarray(event.tensor_proto) for event in log.Tensors(tag)]


def test_the_tab_gets_the_numbers_at_every_measured_step(network, batches, trainer, tensorboard, events):
    model = network()
    with torch.no_grad():
        model.encoder.bias_ih_l0[:5] = -50
    suite = RNNDiagnostics(2, max_overhead=None, lyapunov=True)
    run = trainer(suite, logger=tensorboard)
    run.fit(model, batches)
    log = events(tensorboard)
    expected = {"grad": (4, 6), "influence": (4, 6), "horizon": (3,), "gates": (3, 4, 6), "gate_units": (3, 3, 5)}
    expected |= {"eig/forget": (5, 2), "sv/forget": (5,)}
    for kind, shape in expected.items():
        series = tensors(log, f"rnn_diag/encoder.l0/{kind}")
        assert [values.shape for values in series] == [shape] * 3, kind
    assert len(tensors(log, "rnn_diag/encoder.l0/lyapunov")) == 1
    gates = tensors(log, "rnn_diag/encoder.l0/gates")[-1]
    assert gates[0, :2].tolist() == [[0] * 6, [254] * 6]  # the input gate: mean 0, all units shut
    sigma = run.callback_metrics["spectrum/encoder.l0/forget/sigma_max"].item()
    assert tensors(log, "rnn_diag/encoder.l0/sv/forget")[-1][0] == pytest.approx(sigma)
    cost = tensors(log, "rnn_diag/cost")
    assert len(cost) == 3
    assert all(milliseconds > 0 and 0 < share <= 1 for milliseconds, share in cost)


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
