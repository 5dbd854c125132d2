"""Memory of random networks, beside theory that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rnn_diag.lab.experiments.memory_length import MemoryLength
from rnn_diag.lab.parts.networks import gaussian_matrix


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
