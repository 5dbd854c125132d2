"""Pictures say with pixels what the numbers say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rnn_diag.reporting import gate_history
from rnn_diag.reporting.canvas import round_numbers, short
from rnn_diag.reporting.colours import ABSENT, ALARM, BETWEEN, GRADIENT_RATIO, NON_FINITE, OPEN, SHUT, STABLE, ZERO
from rnn_diag.reporting.gate_history import gates_over_training
from rnn_diag.reporting.gates import COLUMNS, PANEL_HEIGHT, TOP, GateShares, gate_map
from rnn_diag.reporting.heatmap import PLOT, gradient_heat_map
from rnn_diag.reporting.plane import Spectrum, eigenvalue_plane


def cell(picture, column, columns, row, rows):
    """Return the colour in the middle of a cell of the heat map."""
    x = PLOT.left + int((column + 0.5) / columns * PLOT.width)
    y = PLOT.top + int((row + 0.5) / rows * PLOT.height)
    return tuple(picture[y, x].tolist())


def test_heat_map_shows_each_value_at_its_step_and_lag_in_the_colour_of_the_scale():
    columns = [np.array([0.0, -2.0, -6.0]), np.array([0.0, 1.0, 3.0])]
    picture = gradient_heat_map("l0", [0, 50], columns)
    for place, column in enumerate(columns):
        for lag, value in enumerate(column):
            assert cell(picture, place, 2, lag, 3) == tuple(GRADIENT_RATIO.rgb(np.array(value)).tolist())


def test_heat_map_marks_what_is_not_finite_exactly_zero_or_not_there():
    picture = gradient_heat_map("l0", [0, 1], [np.array([math.nan, math.inf, -math.inf]), np.array([0.0])])
    assert [cell(picture, 0, 2, lag, 3) for lag in range(3)] == [NON_FINITE, NON_FINITE, ZERO]
    assert [cell(picture, 1, 2, lag, 3) for lag in (1, 2)] == [ABSENT, ABSENT]


def test_colours_do_not_depend_on_the_range_of_what_is_drawn():
    steep = gradient_heat_map("l0", [0], [np.array([0.0, -1.0, -8.0])])
    flat = gradient_heat_map("l0", [0], [np.array([0.0, -1.0, -1.0])])
    assert cell(steep, 0, 1, 1, 3) == cell(flat, 0, 1, 1, 3)


def test_values_beyond_the_scale_take_its_ends():
    ends = GRADIENT_RATIO.rgb(np.array([-8.0, 4.0]))
    assert np.array_equal(GRADIENT_RATIO.rgb(np.array([-300.0, 300.0])), ends)


def test_heat_map_of_nothing_or_of_unequal_parts_is_refused():
    with pytest.raises(ValueError, match="0 columns for 0 training steps; expected one each, at least one"):
        gradient_heat_map("l0", [], [])
    with pytest.raises(ValueError, match="1 columns for 2 training steps"):
        gradient_heat_map("l0", [0, 1], [np.zeros(3)])


def painted(picture, colour):
    return int((picture == colour).all(-1).sum())


def test_eigenvalues_outside_the_unit_circle_alone_are_red():
    small = np.array([0.2])
    inside = eigenvalue_plane("l0", {"hidden": Spectrum(np.array([0.5 + 0.2j, 0.5 - 0.2j]), small)})
    outside = eigenvalue_plane("l0", {"hidden": Spectrum(np.array([1.2 + 0j]), small)})
    assert painted(inside, ALARM) == 0
    assert painted(inside, STABLE) > 20
    assert painted(outside, ALARM) > 10


def test_eigenvalues_that_are_nan_are_said_to_be():
    unknown = Spectrum(np.full(3, complex(math.nan, math.nan)), np.full(3, math.nan))
    assert painted(eigenvalue_plane("l0", {"hidden": unknown}), NON_FINITE) > 20


def test_large_eigenvalues_stay_in_the_picture():
    picture = eigenvalue_plane("l0", {"hidden": Spectrum(np.array([5.0 + 0j]), np.array([5.0]))})
    assert painted(picture, ALARM) > 10


def test_planes_of_four_gates_stand_two_by_two():
    one = Spectrum(np.array([0.5 + 0j]), np.array([0.5]))
    single, four = (eigenvalue_plane("l0", {str(k): one for k in range(n)}) for n in (1, 4))
    assert four.shape[0] > 1.5 * single.shape[0]
    with pytest.raises(ValueError, match="no matrix to draw"):
        eigenvalue_plane("l0", {})


def column_of(picture, side, place, of):
    left, right = COLUMNS[side]
    return picture[TOP : TOP + PANEL_HEIGHT, left + int((place + 0.5) / of * (right - left))]


def test_gate_map_fills_from_below_what_is_shut_and_from_above_what_is_open():
    step, unit = np.array([0.25, 0.0]), np.array([0.0, 1.0])
    picture = gate_map("l0", {"forget": GateShares(step, step[::-1], unit, unit[::-1])}, "note")
    assert (column_of(picture, 0, 0, 2)[-PANEL_HEIGHT // 4 + 1 :] == SHUT).all()
    assert (column_of(picture, 0, 0, 2)[: PANEL_HEIGHT // 2] == BETWEEN).all()
    assert (column_of(picture, 0, 1, 2)[: PANEL_HEIGHT // 4 - 1] == OPEN).all()


def test_gate_map_sorts_units_with_the_shut_ones_first():
    step, left, right = np.zeros(2), np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
    picture = gate_map("l0", {"input": GateShares(step, step, left, right)}, "note")
    for place, colour in enumerate((SHUT, BETWEEN, OPEN)):
        assert (column_of(picture, 1, place, 3) == colour).all()


def test_gate_map_shows_nan_as_such():
    picture = gate_map("l0", {"input": GateShares(*[np.array([math.nan, 0.0])] * 4)}, "note")
    assert (column_of(picture, 0, 0, 2) == NON_FINITE).all()
    with pytest.raises(ValueError, match="no gate to draw"):
        gate_map("l0", {}, "note")


def test_gates_over_training_stand_at_their_step_and_timestep_with_shorter_sequences_at_the_top():
    short = np.array([[0.0, 1.0], [1, 1]])
    binned = np.array([[0.0, 0.5], [3, 1]])
    nan = np.array([[math.nan] * 4, [1] * 4])
    picture = gates_over_training("l0", ["forget"], [0, 5, 10], [short, binned, nan])

    def colour(column, timestep):
        x = gate_history.LEFT + int((column + 0.5) / 3 * (gate_history.RIGHT - gate_history.LEFT))
        y = gate_history.TOP + int((1 - (timestep + 0.5) / 4) * gate_history.HEIGHT)
        return tuple(picture[y, x].tolist())

    assert [colour(0, timestep) for timestep in range(4)] == [ABSENT, ABSENT, SHUT, OPEN]
    assert [colour(1, timestep) for timestep in range(4)] == [SHUT, SHUT, SHUT, BETWEEN]
    assert colour(2, 1) == NON_FINITE


def test_gates_over_training_of_ten_thousand_steps_fit_their_picture():
    column = np.concatenate([np.full((1, 64), 0.5), np.full((1, 64), 10_000 / 64)])
    picture = gates_over_training("l0", ["forget"], list(range(240)), [column] * 240)
    assert painted(picture, BETWEEN) > 0.9 * gate_history.HEIGHT * (gate_history.RIGHT - gate_history.LEFT)


def test_gates_over_training_of_unequal_parts_are_refused():
    with pytest.raises(ValueError, match=r"1 columns of \[2\] rows for 2 training steps and 1 gates"):
        gates_over_training("l0", ["forget"], [0, 1], [np.zeros((2, 3))])


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 1), (0, 9999), (-8, 4), (-0.003, 0.001), (0, 1e9)])
def test_ticks_are_round_few_and_within_the_range(low, high):
    ticks = round_numbers(low, high, 6)
    assert 1 <= len(ticks) <= 6
    assert all(low - 1e-12 <= tick <= high + 1e-12 for tick in ticks)
    assert [short(tick) for tick in ticks] == sorted({short(t) for t in ticks}, key=[short(t) for t in ticks].index)


@pytest.mark.parametrize("units", [1, 3, 700])
def test_any_number_of_steps_and_units_can_be_drawn(units):
    values = np.linspace(0, 1, units)
    assert gate_map("l0", {"input": GateShares(values, 1 - values, values, 1 - values)}, "note").dtype == np.uint8
    assert gradient_heat_map("l0", list(range(units)), [-values] * units).shape[2] == 3
    assert eigenvalue_plane("l0", {"hidden": Spectrum(values + 0j, values)}).shape[2] == 3
