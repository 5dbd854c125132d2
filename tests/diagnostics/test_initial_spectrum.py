from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rnn_diag.diagnostics.initial_spectrum import initial_expectations


def default_initialised(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return (2 * torch.rand(*shape, generator=generator, dtype=torch.float64) - 1) / math.sqrt(shape[-1])


def test_one_unit_is_expected_to_have_the_mean_magnitude_of_its_only_weight() -> None:
    expected = initial_expectations(1)  # uniform between -1 and 1
    assert expected.spectral_radius == pytest.approx(0.5, rel=1e-14)
    assert expected.spectral_norm == pytest.approx(0.5, rel=1e-14)


@pytest.mark.parametrize(
    ("units", "draws"), [(2, 40000), (3, 20000), (4, 20000), (7, 10000), (10, 6000), (20, 2000), (40, 600)]
)
def test_expectations_equal_the_means_of_many_small_matrices(units: int, draws: int) -> None:
    matrices = default_initialised(draws, units, units)
    radii, norms = torch.linalg.eigvals(matrices).abs().amax(1), torch.linalg.svdvals(matrices)[:, 0]
    expected = initial_expectations(units)
    for values, mean in ((radii, expected.spectral_radius), (norms, expected.spectral_norm)):
        scatter = values.std().item() / math.sqrt(draws)
        assert abs(values.mean().item() - mean) < 3 * scatter + 0.002 * mean


@pytest.mark.parametrize("units", [16, 64])
def test_expectations_at_initialisation_hold_for_small_layers(units: int) -> None:
    draws = default_initialised(200, units, units)
    radius = torch.linalg.eigvals(draws).abs().amax(1).mean().item()
    norm = torch.linalg.svdvals(draws)[:, 0].mean().item()
    expected = initial_expectations(units)
    assert expected.spectral_radius == pytest.approx(radius, rel=0.04)
    assert expected.spectral_norm == pytest.approx(norm, rel=0.02)


def test_expectations_scale_with_the_spread_of_the_entries() -> None:
    assert initial_expectations(64, 0.5).spectral_norm == pytest.approx(
        initial_expectations(64).spectral_norm * 0.5 * math.sqrt(3 * 64)
    )
