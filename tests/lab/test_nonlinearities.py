"""Single units with a nonlinearity, beside their own equation."""

from __future__ import annotations

import math

import pytest

from rnn_diag.lab.experiments.nonlinearities import Nonlinearities
from rnn_diag.lab.experiments.pitchfork import Pitchfork
from rnn_diag.lab.fixed_points import convergence_rate, fixed_points, resting_place


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


def test_units_come_to_rest_where_their_equation_says_and_at_its_pace() -> None:
    outcome = Nonlinearities(weights=(0.6, 1.5), biases=(0.0,), steps=120).run()
    assert outcome.holds
    for activation, w, b, _, last, settled, _, half_life in outcome.tables[0].rows:
        if activation == "sigmoid":
            assert last == pytest.approx(1 / (1 + math.exp(-(w * last + b))), abs=1e-9)
            assert settled <= 4
        if activation == "relu" and w == 0.6:
            assert half_life == pytest.approx(math.log(2) / -math.log(0.6), rel=1e-6)
        if activation == "relu" and w == 1.5:
            assert last == pytest.approx(1.5**119)
            assert half_life is None


def test_a_relu_unit_that_grows_is_named_in_the_conclusion() -> None:
    said = Nonlinearities(weights=(0.5, 2.0), biases=(0.0,), steps=40).run().conclusion
    assert "1 of 2 ReLU units never settle" in said
    assert "5.5e+11" in said  # 2 to the 39th


def test_two_resting_places_appear_at_one() -> None:
    outcome = Pitchfork(lowest=0.5, highest=2.0, count=4, steps=150).run()
    assert outcome.holds
    rests = {row[0]: row[2] for row in outcome.tables[0].rows}
    assert rests[0.5] == pytest.approx(0.0, abs=1e-12)
    assert rests[2.0] == pytest.approx(math.tanh(2 * rests[2.0]), abs=1e-12)
    assert rests[2.0] > 0.95
    assert rests[1.0] == pytest.approx(math.sqrt(3 / 300), rel=0.05)


def test_a_range_without_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"highest=0\.9; expected a finite number above 1"):
        Pitchfork(highest=0.9)
