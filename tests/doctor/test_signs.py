"""Evidence that cites a tag holds the number that the callbacks log under that tag, of the same layer."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import reduce
from operator import add

import pytest
import torch
from torch import nn

from rnn_diag.callbacks import GateSaturation, GradientNorms, MemoryHorizon, RecurrentSpectrum
from rnn_diag.capture import Recording, record
from rnn_diag.doctor import examine, judge
from rnn_diag.doctor.examine import measurements_of
from rnn_diag.interventions.initialization import chrono
from rnn_diag.measurements.gradients import GradientUnits
from tests.doctor.test_sick_and_healthy import HEALTHY, SICK, Ward

CALLBACKS = (GradientNorms, MemoryHorizon, GateSaturation, RecurrentSpectrum)


def logged(recording: Recording) -> dict[str, float]:
    """Return what the callbacks log of a recording, by tag."""
    numbers: dict[str, float] = {}
    for callback in (kind(max_overhead=None) for kind in CALLBACKS):
        measure = callback.measure_of
        for layer in recording.names:
            traces = [one for one in recording.calls(layer) if one.has_gradients or not measure.needs.gradients]
            parts = [measure.of(trace, GradientUnits(1.0, False)) for trace in traces]
            if parts:
                merged = measure.complete(parts[0] if measure.needs.weights_only else reduce(add, parts))
                named = callback.scalars(layer, merged).items()
                numbers |= {f"{callback.name}/{layer}/{name}": value for name, value in named}
    return numbers


def nearly_shut_gates() -> Ward:
    """An input gate that is shut throughout, with a slope left in some of its units."""
    layer = nn.LSTM(3, 16)
    with torch.no_grad():
        layer.bias_ih_l0[:10] = -12.0
        layer.bias_ih_l0[10:16] = -5.0
        layer.weight_ih_l0[:16] *= 0.1
        layer.weight_hh_l0[:16] *= 0.1
    return layer, torch.randn(30, 4, 3), lambda model, batch: model(batch)[0][-1].square().mean()


def long_memory_through_the_cell() -> Ward:
    layer = nn.LSTM(2, 32)
    chrono(layer, longest=100)
    return layer, torch.randn(100, 4, 2), lambda model, batch: model(batch)[0][-1].square().mean()


@pytest.mark.parametrize(
    "ward", [*SICK, *HEALTHY, nearly_shut_gates, long_memory_through_the_cell], ids=lambda ward: ward.__name__
)
def test_cited_tags_hold_the_number_that_is_shown(ward: Callable[[], Ward]) -> None:
    torch.manual_seed(7)
    model, batch, loss = ward()
    torch.manual_seed(9)  # dropout
    with record(model, sequences=8) as recording:
        loss(model, batch).backward()
    numbers = logged(recording)
    for finding in judge(measurements_of(recording), recording.coverage).findings:
        for evidence in (one for one in finding.evidence if re.match(r"\w+/\S+/\S+$", one.tag)):
            assert evidence.tag in numbers, f"{finding.id} cites {evidence.tag}, which nobody logs"
            assert evidence.value == pytest.approx(numbers[evidence.tag], rel=1e-9, nan_ok=True), evidence.tag


def test_units_without_slope_and_units_that_are_shut_are_two_numbers() -> None:
    torch.manual_seed(7)
    (finding,) = examine(*nearly_shut_gates()).of("stuck_gate")
    values = {one.tag: one.value for one in finding.evidence}
    assert values == {"": 0.625, "saturation/l0/input/stuck_shut": 1.0}


def test_memory_of_a_whole_sequence_is_told_as_that() -> None:
    torch.manual_seed(7)
    vitals = examine(*long_memory_through_the_cell()).vitals["l0"]
    assert (vitals.horizon, vitals.furthest) == (99.0, 99.0)
    assert math.isclose(vitals.horizon_share, 1.0)
