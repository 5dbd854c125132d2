"""Images of gates say with pixels what the numbers say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rnn_diag.measurements.history import GatesOverTime
from rnn_diag.reporting.colours import ABSENT, BETWEEN, NOT_FINITE, OPEN, SHUT, channels
from rnn_diag.reporting.images.gates import (
    COLUMNS,
    FIRST_HISTORY,
    PANEL_HEIGHT,
    TOP,
    GateShares,
    gate_map,
    gates_over_training,
)


def painted(picture, colour):
    return int((picture == channels(colour)).all(-1).sum())


def column_of(picture, side, place, of):
    left, right = COLUMNS[side]
    return picture[TOP : TOP + PANEL_HEIGHT, left + int((place + 0.5) / of * (right - left))]


def test_gate_map_fills_from_below_what_is_shut_and_from_above_what_is_open():
    step, unit = np.array([0.25, 0.0]), np.array([0.0, 1.0])
    picture = gate_map("l0", {"forget": GateShares(step, step[::-1], unit, unit[::-1])}, "note")
    assert (column_of(picture, 0, 0, 2)[-PANEL_HEIGHT // 4 + 1 :] == channels(SHUT)).all()
    assert (column_of(picture, 0, 0, 2)[: PANEL_HEIGHT // 2] == channels(BETWEEN)).all()
    assert (column_of(picture, 0, 1, 2)[: PANEL_HEIGHT // 4 - 1] == channels(OPEN)).all()


def test_gate_map_sorts_units_with_the_shut_ones_first():
    step, left, right = np.zeros(2), np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
    picture = gate_map("l0", {"input": GateShares(step, step, left, right)}, "note")
    for place, colour in enumerate((SHUT, BETWEEN, OPEN)):
        assert (column_of(picture, 1, place, 3) == channels(colour)).all()


def test_gate_map_shows_nan_as_such():
    picture = gate_map("l0", {"input": GateShares(*[np.array([math.nan, 0.0])] * 4)}, "note")
    assert (column_of(picture, 0, 0, 2) == channels(NOT_FINITE)).all()
    with pytest.raises(ValueError, match="no gate to draw"):
        gate_map("l0", {}, "note")


def test_gates_over_training_stand_at_their_step_and_timestep_with_shorter_sequences_at_the_top():
    short = GatesOverTime(np.array([[0.0, 1.0]]), np.array([1, 1]))
    binned = GatesOverTime(np.array([[0.0, 0.5]]), np.array([3, 1]))
    nan = GatesOverTime(np.full((1, 4), math.nan), np.ones(4))
    picture = gates_over_training("l0", ["forget"], [0, 5, 10], [short, binned, nan])

    def colour(column, timestep):
        x = FIRST_HISTORY.left + int((column + 0.5) / 3 * (FIRST_HISTORY.right - FIRST_HISTORY.left))
        y = FIRST_HISTORY.top + int((1 - (timestep + 0.5) / 4) * FIRST_HISTORY.height)
        return tuple(picture[y, x].tolist())

    assert [colour(0, timestep) for timestep in range(4)] == [*map(channels, (ABSENT, ABSENT, SHUT, OPEN))]
    assert [colour(1, timestep) for timestep in range(4)] == [*map(channels, (SHUT, SHUT, SHUT, BETWEEN))]
    assert colour(2, 1) == channels(NOT_FINITE)


def test_gates_over_training_of_ten_thousand_steps_fit_their_picture():
    column = GatesOverTime(np.full((1, 64), 0.5), np.full(64, 10_000 / 64))
    picture = gates_over_training("l0", ["forget"], list(range(240)), [column] * 240)
    assert painted(picture, BETWEEN) > 0.9 * FIRST_HISTORY.height * (FIRST_HISTORY.right - FIRST_HISTORY.left)


def test_gates_over_training_of_unequal_parts_are_refused():
    with pytest.raises(ValueError, match=r"1 columns of \[2\] rows for 2 training steps and 1 gates"):
        gates_over_training("l0", ["forget"], [0, 1], [GatesOverTime(np.zeros((2, 3)), np.ones(3))])


@pytest.mark.parametrize("units", [1, 3, 700])
def test_any_number_of_units_can_be_drawn(units):
    values = np.linspace(0, 1, units)
    assert gate_map("l0", {"input": GateShares(values, 1 - values, values, 1 - values)}, "note").dtype == np.uint8
