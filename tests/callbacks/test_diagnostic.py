"""A diagnostic of one's own: a name, a measure, and numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnn_diag.callbacks import DiagnosticWarning
from rnn_diag.callbacks.diagnostic import Diagnostic
from rnn_diag.diagnostics import Profile
from rnn_diag.pending import Pending


class Liveliness(Diagnostic):
    name = "liveliness"

    def measure(self, trace, units):
        return Profile.of(trace.hidden.abs().mean(-1).cpu(), trace.mask)

    def scalars(self, layer, merged):
        return {"mean": float(merged.mean.mean())}


class WithoutWaiting(Liveliness):
    def measure(self, trace, units):
        return Pending([trace.hidden.abs().mean(-1), trace.mask], Profile.of)


@pytest.mark.parametrize("diagnostic", [Liveliness, WithoutWaiting])
def test_its_numbers_are_logged_for_every_layer_under_its_name(diagnostic, batches, trainer, network):
    model, seen = network(nn.GRU, num_layers=2), []
    model.encoder.register_forward_hook(lambda module, args, result: seen.append(result[0].detach()))
    run = trainer(diagnostic(1, sequences=None), limit_train_batches=1)
    run.fit(model, batches)
    values = {tag: value.item() for tag, value in run.callback_metrics.items() if tag.startswith("liveliness/")}
    assert set(values) == {"liveliness/encoder.l0/mean", "liveliness/encoder.l1/mean"}
    assert values["liveliness/encoder.l1/mean"] == pytest.approx(float(seen[0].abs().mean()), rel=1e-5)


def test_one_without_a_measure_is_told_what_to_write_and_training_continues(batches, trainer, network):
    class Empty(Diagnostic):
        name = "empty"

    run = trainer(Empty(1), limit_train_batches=2)
    with pytest.warns(DiagnosticWarning, match=r"Empty measures nothing; expected a method `measure\(trace, units\)`"):
        run.fit(network(), batches)
    assert run.global_step == 2


def test_weights_alone_are_measured_once_whatever_calls_there_are(batches, trainer, network):
    measured = []

    class Norm(Diagnostic):
        name, of_weights = "norm", True

        def measure(self, trace, units):
            return torch.linalg.vector_norm(trace.weights.weight_hh.detach())

        def complete(self, norm):
            measured.append(norm)
            return norm

        def scalars(self, layer, merged):
            return {"weight_hh": float(merged)}

    model = network()
    expected = float(torch.linalg.vector_norm(model.encoder.weight_hh_l0))
    run = trainer(Norm(1, max_overhead=None), limit_train_batches=1)
    run.fit(model, batches)
    assert len(measured) == 1
    assert run.callback_metrics["norm/encoder.l0/weight_hh"].item() == pytest.approx(expected)
