"""Fixed points, their pace and the mean field, beside what can be worked out by hand."""

from __future__ import annotations

import math

import pytest

from rnn_diag.lab.parts.theory_values import convergence_rate, fixed_points, mean_field, resting_place


@pytest.mark.parametrize("weight", [-3.0, 0.0, 0.7, 1.0, 1.3, 6.0])
@pytest.mark.parametrize("bias", [-0.4, 0.0, 0.8])
def test_every_fixed_point_solves_the_equation_and_between_them_there_is_none(weight: float, bias: float) -> None:
    points = fixed_points("tanh", weight, bias)
    assert points == sorted(points)
    assert len(points) in (1, 3)
    for point in points:
        assert math.tanh(weight * point + bias) == pytest.approx(point, abs=1e-9)


def test_the_rate_is_the_slope_of_the_map() -> None:
    small = 1e-6
    for weight, bias, h in ((0.8, 0.1, 0.4), (2.0, -0.3, -0.2)):
        change = math.tanh(weight * (h + small) + bias) - math.tanh(weight * (h - small) + bias)
        assert convergence_rate("tanh", weight, bias, h) == pytest.approx(change / (2 * small), rel=1e-6)
    assert convergence_rate("sigmoid", 1.0, 0.0, 0.0) == 0.25


@pytest.mark.parametrize(
    ("weight", "bias", "start", "place"),
    [
        (0.5, 1.0, 0.0, 2.0),
        (0.5, 1.0, 9.0, 2.0),
        (1.0, 0.0, 0.7, 0.7),
        (1.0, 0.1, 0.7, math.inf),
        (1.5, 0.0, 0.7, math.inf),
        (1.5, -1.0, 1.0, 0.0),
        (1.5, -1.0, 3.0, math.inf),
        (0.5, -1.0, 3.0, 0.0),
    ],
)
def test_a_relu_unit_rests_where_its_straight_line_says(weight: float, bias: float, start: float, place: float) -> None:
    assert resting_place("relu", weight, bias, start) == place
    h = start
    for _ in range(2000):
        h = max(weight * h + bias, 0.0)
    assert h == pytest.approx(place, abs=1e-9) if math.isfinite(place) else h > 50


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
