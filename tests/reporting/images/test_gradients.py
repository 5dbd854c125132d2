"""The image of gradients over training says with pixels what the numbers say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rnn_diag.reporting.colours import ABSENT, GRADIENT_RATIO, NOT_FINITE, ZERO, channels
from rnn_diag.reporting.images.gradients import PLOT, gradient_heat_map


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
    assert [cell(picture, 0, 2, lag, 3) for lag in range(3)] == [
        channels(NOT_FINITE),
        channels(NOT_FINITE),
        channels(ZERO),
    ]
    assert [cell(picture, 1, 2, lag, 3) for lag in (1, 2)] == [channels(ABSENT)] * 2


def test_heat_map_of_nothing_or_of_unequal_parts_is_refused():
    with pytest.raises(ValueError, match="0 columns for 0 training steps; expected one each, at least one"):
        gradient_heat_map("l0", [], [])
    with pytest.raises(ValueError, match="1 columns for 2 training steps"):
        gradient_heat_map("l0", [0, 1], [np.zeros(3)])


def test_colours_do_not_depend_on_the_range_of_what_is_drawn():
    steep = gradient_heat_map("l0", [0], [np.array([0.0, -1.0, -8.0])])
    flat = gradient_heat_map("l0", [0], [np.array([0.0, -1.0, -1.0])])
    assert cell(steep, 0, 1, 1, 3) == cell(flat, 0, 1, 1, 3)


@pytest.mark.parametrize("steps", [1, 3, 700])
def test_any_number_of_steps_can_be_drawn(steps):
    values = np.linspace(0, 1, steps)
    assert gradient_heat_map("l0", list(range(steps)), [-values] * steps).shape[2] == 3
