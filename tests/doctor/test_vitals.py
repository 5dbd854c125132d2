"""Vital signs: from measurements, and to JSON and back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from rnn_diag import record
from rnn_diag.coverage import Coverage, Status
from rnn_diag.doctor import RunFacts, Vitals
from rnn_diag.doctor.vitals import beside_each_other
from rnn_diag.measurements.layer import LayerMeasurements


def measured(module: nn.Module, *, last: bool = True) -> dict[str, Vitals]:
    with record(module) as recording:
        output, _ = module(torch.randn(20, 3, 2))
        (output[-1] if last else output).square().sum().backward()
    return {name: Vitals.of(name, LayerMeasurements.of(trace)) for name, trace in recording.items()}


def test_they_are_the_same_after_json() -> None:
    (vitals,) = measured(nn.LSTM(2, 4)).values()
    vitals = replace(vitals, coverage=Coverage("l0", "LSTM", Status.EXACT, "as autograd"), slope=float("-inf"))
    read = Vitals.from_dict(json.loads(json.dumps(vitals.to_dict(), allow_nan=False)))
    assert read.to_dict() == vitals.to_dict()
    assert read.coverage is not None and read.coverage.status is Status.EXACT


@pytest.mark.parametrize(("last", "dense"), [(True, False), (False, True)])
def test_a_loss_at_every_step_is_dense(last: bool, dense: bool) -> None:
    assert measured(nn.GRU(2, 4), last=last)["l0"].is_dense is dense


def test_directions_know_of_each_other_and_of_the_others_biases() -> None:
    module = nn.LSTM(2, 4, bidirectional=True)
    with torch.no_grad():
        module.bias_ih_l0_reverse[4:8] = 3.0
        module.bias_hh_l0_reverse[4:8] = 0.0
    together = beside_each_other(measured(module))
    assert together["l0"].forget_bias_elsewhere == {"l0_reverse": pytest.approx(3.0)}
    assert together["l0"].other_direction["read_share"] == pytest.approx(together["l0_reverse"].read_share)


def test_what_is_known_of_the_run_is_among_them() -> None:
    facts = RunFacts(amp_scaled=True, frozen=frozenset({"l0"}), untrained=frozenset({"l0"}), without_gradient={"l0": 4})
    with record(layer := nn.GRU(2, 4)) as recording:
        layer(torch.randn(5, 3, 2))
    vitals = Vitals.of("l0", LayerMeasurements.of(recording["l0"]), facts=facts)
    assert (vitals.amp_scaled, vitals.is_frozen, vitals.in_no_optimizer, vitals.batches) == (True, True, True, 4)
    assert not vitals.has_gradients
