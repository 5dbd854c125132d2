"""What loggers, callback metrics and the tab hold after a fit with the whole suite."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from tensorboard.util import tensor_util
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import rnn_diag.nn
from rnn_diag.callbacks import Doctor, GateSaturation, GradientNorms, MemoryHorizon, RecurrentSpectrum, RNNDiagnostics

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
    """Return the tags that the docstrings list, for layers of one kind outside half precision."""
    shown = (GradientNorms, MemoryHorizon, RecurrentSpectrum, GateSaturation, RNNDiagnostics)
    documentation = "\n".join(callback.__doc__ for callback in shown)
    lines = re.findall(r"^ *- `([^`]+)`:((?:.|\n(?! *- |\n))*)", documentation, flags=re.MULTILINE)
    tags = {tag for tag, says in lines if not re.search(r"transient=True|float16 only|TF32|carried", says)}
    if kind != "lstm":
        tags -= {tag for tag in tags if "/cell_" in tag}
    if kind == "rnn":
        tags -= {tag for tag in tags if tag.endswith(("/gates", "/gate_units", "/gates_over_training"))}
    choices = {"<layer>": layers, "<gate>": SIGMOID[kind], "<tanh>": TANH[kind], "<block>": BLOCKS[kind]}
    for placeholder, names in choices.items():
        tags = {tag.replace(placeholder, name) for tag in tags for name in (names if placeholder in tag else [""])}
    return tags


def tensors(log, tag):
    return [tensor_util.make_ndarray(event.tensor_proto) for event in log.Tensors(tag)]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: f"{layer.__module__.split('.')[0]}-{layer.__name__}")
def test_tags_in_tensorboard_are_exactly_those_that_the_docstrings_list(
    layer, network, batches, trainer, tensorboard, events
):
    trainer(RNNDiagnostics(2, max_overhead=None), logger=tensorboard).fit(network(layer, num_layers=2), batches)
    tags = events(tensorboard).Tags()
    written = {tag for kind in ("scalars", "images", "histograms", "tensors") for tag in tags[kind]}
    assert written - {"epoch"} == listed(LAYERS[layer], ["encoder.l0", "encoder.l1"])


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
    assert values[None].keys() == values[1].keys()
    assert [tag for tag, value in values[1].items() if math.isnan(value)] == []


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


@pytest.mark.parametrize(("every_nth", "expected"), [(1, [0, 1, 2, 3, 4, 5, 6, 7]), (3, [0, 1, 2, 5])])
def test_spectra_are_taken_at_the_first_measured_steps_and_then_at_every_nth(
    network, batches, trainer, tensorboard, events, every_nth, expected
):
    suite = RNNDiagnostics(1, max_overhead=None, spectra_every_nth=every_nth)
    trainer(suite, logger=tensorboard, max_epochs=2, max_steps=8).fit(network(), batches)
    log = events(tensorboard)
    assert [one.step for one in log.Scalars("spectrum/encoder.l0/forget/spectral_radius")] == expected
    assert [one.step for one in log.Scalars("memory_horizon/encoder.l0/steps")] == list(range(8))


def test_spectra_are_asked_for_at_least_as_often_as_by_any_callback(network, batches, trainer, tensorboard, events):
    suite = RNNDiagnostics(1, max_overhead=None, spectra_every_nth=3), Doctor(1, max_overhead=None)
    trainer(*suite, logger=tensorboard, max_epochs=2, max_steps=8).fit(network(), batches)
    taken = [one.step for one in events(tensorboard).Scalars("spectrum/encoder.l0/forget/spectral_radius")]
    assert taken == [0, 1, 2, 5]


def test_no_number_of_spectra_is_refused_with_what_was_given():
    with pytest.raises(ValueError, match="spectra_every_nth=0"):
        RNNDiagnostics(spectra_every_nth=0)
