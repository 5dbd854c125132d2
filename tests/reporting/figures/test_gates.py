"""What the artists of a figure of gates hold is what was given."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rnn_diag.reporting import figures
from rnn_diag.reporting.colours import NOT_FINITE, OPEN, SHUT
from tests.reporting.figures.artists import RGBA, drawn, mesh_colours


def test_gates_are_filled_with_shut_from_below_and_open_from_above():
    figure = drawn(figures.gates_over_time({"forget": [[0.5, 0.75], [0.25, 0.0], [0.0, 0.5]]}))
    shut, open_ = figure.axes[0].patches
    assert shut.get_data().values.tolist() == [0.25, 0.0]
    assert open_.get_data().values.tolist() == [1.0, 0.5]
    assert open_.get_data().baseline == 1
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0.5, 0.75]


def test_units_come_in_the_order_of_how_stuck_they_are():
    figure = drawn(figures.units({"input": [[0.5] * 3, [0.0, 1.0, 0.25], [0.5, 0.0, 0.0]]}))
    (mesh,) = figure.axes[0].collections
    assert mesh.get_array().tolist() == [[-1.0, 0.5, -0.25]]
    assert figure.axes[0].get_title(loc="right") == "stuck: 1 shut"


def test_gates_over_training_are_blue_where_open_orange_where_shut_magenta_where_no_number():
    figure = drawn(figures.gates_over_training([0, 5, 10], {"forget": [[-1.0, 1.0], [math.nan, 0.0], [1.0]]}))
    colours = mesh_colours(figure.axes[0])
    assert tuple(colours[0, 0]) == RGBA(SHUT)
    assert tuple(colours[1, 0]) == RGBA(OPEN)
    assert tuple(colours[0, 1]) == RGBA(NOT_FINITE)
    assert colours[0, 2, 3] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.gates_over_time({"forget": np.zeros((2, 5))}), r"gate 'forget' has the shape \[2, 5\]"),
        (lambda: figures.units({}), "no gate to draw"),
        (lambda: figures.gates_over_training([0], {}), "no gate to draw"),
    ],
)
def test_what_cannot_be_drawn_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()
