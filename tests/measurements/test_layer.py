"""What is measured of a layer is typed, merges, and is measured once for all who ask."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from rnn_diag.capture import record
from rnn_diag.measurements.call import CallFacts, MeasureCall
from rnn_diag.measurements.gates import MeasureGates
from rnn_diag.measurements.influence import MeasureInfluence
from rnn_diag.measurements.layer import LayerMeasurements, chosen
from rnn_diag.trace import Trace


def trace_of(layer: nn.Module, batch: torch.Tensor | None = None) -> Trace:
    with record(layer) as recording:
        layer(torch.randn(9, 3, 2) if batch is None else batch)[0][-1].sum().backward()
    return recording["l0"]


def test_measures_that_ask_for_the_same_are_equal_and_others_are_not() -> None:
    assert {MeasureInfluence(), MeasureInfluence(4, 0.01), MeasureInfluence(4, 0.05)} == {
        MeasureInfluence(),
        MeasureInfluence(threshold=0.05),
    }
    assert MeasureCall() != MeasureGates()


def test_what_is_needed_is_replaced_by_what_is_asked_for_first() -> None:
    asked = [MeasureGates(0.2, 0.8), MeasureGates(0.3, 0.7)]
    assert chosen([MeasureCall(), MeasureGates()], asked) == (MeasureCall(), MeasureGates(0.2, 0.8))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_measurements_of_a_layer_merge_and_travel_between_ranks(kind: type[nn.Module]) -> None:
    layer = kind(2, 4)
    one, other = (LayerMeasurements.of(trace_of(layer)) for _ in range(2))
    merged = pickle.loads(pickle.dumps(one)) + other
    assert merged.call is not None and merged.call.calls == 2
    assert merged.call.inputs.sequences == 6
    assert merged.gradients is not None and merged.gradients.count == 54
    assert (LayerMeasurements() + merged).influence is merged.influence


def test_gradients_are_left_out_where_a_number_is_not_finite() -> None:
    batch = torch.randn(9, 3, 2)
    batch[4, 1, 0] = torch.inf
    measured = LayerMeasurements.of(trace_of(nn.GRU(2, 4), batch))
    assert measured.gradients is None and measured.influence is None
    assert measured.call is not None and measured.call.non_finite is not None
    assert measured.call.non_finite.where.startswith("input at step 4 of sequence 1")
    assert not measured.call.non_finite.is_gradient


def test_parts_are_known_by_their_class_and_others_are_refused() -> None:
    facts = CallFacts.of(trace_of(nn.GRU(2, 4)))
    assert LayerMeasurements.together(facts).call is facts
    with pytest.raises(TypeError, match="part=dict; expected a measurement of a layer; choices: GradientSums"):
        LayerMeasurements.together({})
