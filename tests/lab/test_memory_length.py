"""Memory of random networks, beside theory that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rnn_diag.lab.experiments.memory_length import MemoryLength
from rnn_diag.lab.mean_field import mean_field
from rnn_diag.lab.networks import gaussian_matrix


def test_mean_field_of_linear_and_relu_networks_is_the_closed_form() -> None:
    for radius in (0.4, 0.8):
        linear, relu = mean_field("identity", radius, 0.5), mean_field("relu", radius, 0.5)
        assert linear.gain == pytest.approx(radius)
        assert linear.variance == pytest.approx(0.25 / (1 - radius**2))
        assert relu.gain == pytest.approx(radius / math.sqrt(2), rel=1e-6)
        assert relu.variance == pytest.approx(0.25 / (1 - radius**2 / 2), rel=1e-6)


def test_mean_field_of_a_tanh_network_with_hardly_any_noise_is_linear() -> None:
    assert mean_field("tanh", 0.7, 1e-4).gain == pytest.approx(0.7, rel=1e-6)
    assert mean_field("tanh", 0.7, 2.0).gain < 0.5


def test_mean_field_of_a_sigmoid_network_stays_below_a_quarter_of_the_radius() -> None:
    assert 0.2 < mean_field("sigmoid", 1.0, 0.3).gain < 0.25


def test_steps_to_a_share_are_those_of_a_geometric_sequence() -> None:
    field = mean_field("identity", 0.5, 0.1)
    assert field.steps_to(0.125) == pytest.approx(3.0)
    assert mean_field("identity", 1.1, 0.1).steps_to(0.5) == math.inf
    assert mean_field("identity", 1.1, 0.1).variance == math.inf


def test_the_influence_in_a_linear_network_is_the_norm_of_the_matrix_power() -> None:
    experiment = MemoryLength(("identity",), (0.9,), 0.9, units=12, steps=60)
    influence = experiment._memory("identity", 0.9).influence
    matrix = gaussian_matrix(12, 0.9, 0)
    for lag in (1, 5, 17):
        power = torch.linalg.matrix_power(matrix, lag).norm() / math.sqrt(12)
        assert float(influence[lag]) == pytest.approx(float(power), rel=1e-9)


def test_small_networks_agree_with_the_theory_and_the_same_seed_gives_the_same_numbers() -> None:
    experiment = MemoryLength(radii=(0.5, 0.9), units=48, steps=60, seed=3)
    before = torch.random.get_rng_state()
    first, again = experiment.run(), experiment.run()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.holds
    assert first.tables[0].rows == again.tables[0].rows
    assert first.conclusion == again.conclusion


def test_an_unknown_activation_is_answered_with_the_choices() -> None:
    with pytest.raises(ValueError, match="activations='tahn'; choices: tanh, relu, sigmoid, identity"):
        MemoryLength(activations=("tahn",))


def test_a_shown_radius_that_is_not_tried_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shown_radius=0.4; choices: 0.3, 0.5"):
        MemoryLength(shown_radius=0.4, radii=(0.3, 0.5))
