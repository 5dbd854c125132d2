"""The bias of the gate that remembers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from rnn_diag.interventions.initialization import forget_gate_bias
from tests.doctor.small_networks import FEATURES, UNITS, found, inputs, keeping, lstm, seen, with_bias


def test_the_default_forget_bias_is_too_low_for_long_sequences_and_chrono_is_named() -> None:
    (finding,) = seen(lstm()).of("forget_bias_low")
    assert finding.evidence[-1].value == pytest.approx(math.log(39))
    assert finding.option == "initialization=[chrono] initialization.chrono.longest=40"


def test_the_same_bias_is_enough_for_short_sequences_and_a_high_one_for_long_ones() -> None:
    assert "forget_bias_low" not in found(lstm(), inputs(8))
    assert found(keeping(lstm())) == []


def test_a_forget_bias_at_the_first_layer_only_is_uneven_and_at_all_layers_is_not() -> None:
    layer = lstm(num_layers=2, bidirectional=True)
    forget_gate_bias(layer, 4.0)
    assert "forget_bias_uneven" not in found(layer)
    with torch.no_grad():
        layer.bias_ih_l1_reverse.zero_()
    (finding,) = seen(layer).of("forget_bias_uneven")
    assert finding.layer == "l1_reverse"


def test_a_forget_bias_in_one_place_beside_a_random_one_in_the_other_is_found() -> None:
    assert "forget_bias_one_of_two" in found(with_bias(lstm(), 1, 4.0))
    both = with_bias(with_bias(lstm(), 1, 4.0), 1, 0.0, ("bias_hh_l0",))
    assert "forget_bias_one_of_two" not in found(both)


@pytest.mark.parametrize("seed", range(3))
def test_a_horizon_that_is_measured_to_be_the_whole_sequence_beats_what_biases_let_expect(seed: int) -> None:
    torch.manual_seed(seed)
    report = seen(nn.GRU(FEATURES, UNITS), inputs(10))
    vitals = report.vitals["l0"]
    assert vitals.predicted_horizon < 9 and vitals.horizon_share == 1
    assert report.of("forget_bias_low") == []


def test_a_bias_in_one_of_two_places_is_found_in_a_gru_too() -> None:
    layer = nn.GRU(FEATURES, UNITS)
    with torch.no_grad():
        layer.bias_ih_l0[UNITS : 2 * UNITS] = 4.0
    (finding,) = seen(layer).of("forget_bias_one_of_two")
    assert "update gate" in finding.meaning
