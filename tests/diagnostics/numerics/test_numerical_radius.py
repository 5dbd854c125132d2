from __future__ import annotations

import math

import pytest
import torch

from rnn_diag.diagnostics.numerics.numerical_radius import numerical_radius


def test_a_numerical_radius_off_the_axes_is_found() -> None:
    cycle = torch.roll(torch.eye(3, dtype=torch.float64), 1, dims=0)  # its numerical range is a triangle
    assert numerical_radius(1.7 * cycle, exact=True) == pytest.approx(1.7, abs=1e-10)
    skew = torch.tensor([[0.0, -0.8], [0.8, 0.0]], dtype=torch.float64)
    assert numerical_radius(skew, exact=True) == pytest.approx(0.8, abs=1e-12)


def test_an_estimate_is_a_lower_bound() -> None:
    size = 60
    shift = torch.diag(torch.ones(size - 1, dtype=torch.float64), 1)
    estimate = numerical_radius(shift, exact=False)
    assert 0.98 * math.cos(math.pi / (size + 1)) < estimate <= math.cos(math.pi / (size + 1)) + 1e-12
