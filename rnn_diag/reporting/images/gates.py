"""Which gates are shut and open, over time and over units; and how their means changed while training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rnn_diag.measurements.history import GatesOverTime
from rnn_diag.reporting.colours import ABSENT, BETWEEN, GATE_MEAN, NOT_FINITE, OPEN, SHUT, channels
from rnn_diag.reporting.images.canvas import Box, Canvas, round_numbers, short

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

PANEL_HEIGHT = 92
ROW = 126
TOP = 92
COLUMNS = ((84, 268), (286, 470))
"""Narrow: TensorBoard shows pictures 350 pixels wide, and what is written in them must be readable then."""
ROWS_OF_CELLS = 92
FIRST_HISTORY = Box(84, 62, 414, 146)
HISTORY_ROW = 112
CELLS_IN_A_PIXEL = 2
COLOURS = np.array([channels(colour) for colour in (BETWEEN, SHUT, OPEN, NOT_FINITE)], dtype=np.uint8)


class GateShares(NamedTuple):
    """Shares of activations saturated on the left (shut) and on the right (open), between 0 and 1; NaN where undefined.

    Attributes:
        left_by_step, right_by_step: By step, in the order of the input.
        left_by_unit, right_by_unit: By unit.
    """

    left_by_step: Float[np.ndarray, " time"]
    right_by_step: Float[np.ndarray, " time"]
    left_by_unit: Float[np.ndarray, " units"]
    right_by_unit: Float[np.ndarray, " units"]


def gate_map(title: str, gates: Mapping[str, GateShares], note: str) -> UInt8[np.ndarray, "height width 3"]:
    """Return a picture with a row per gate: over time on the left, over units, sorted, on the right.

    Args:
        title: What is shown.
        gates: The shares, by the gate's name.
        note: A line beneath the title: thresholds, and what a large value of a gate does.

    Raises:
        ValueError: If there is no gate.
    """
    if not gates:
        raise ValueError("no gate to draw; expected at least one")
    canvas = Canvas(490, TOP + ROW * len(gates) + 52, title)
    canvas.text(12, 34, note, size=14)
    for (left, right), heading in zip(COLUMNS, ("over time", "over units, sorted"), strict=True):
        canvas.text((left + right) / 2, TOP - 24, heading, anchor="ma")
    for row, (name, shares) in enumerate(gates.items()):
        top = TOP + ROW * row
        boxes = [Box(left, top, right, top + PANEL_HEIGHT) for left, right in COLUMNS]
        canvas.text_upwards(26, top + PANEL_HEIGHT // 2, name, size=15)
        _draw(canvas, boxes[0], shares.left_by_step, shares.right_by_step)
        order = np.argsort(shares.right_by_unit - shares.left_by_unit, kind="stable")
        _draw(canvas, boxes[1], shares.left_by_unit[order], shares.right_by_unit[order])
        for share in (0, 0.5, 1):
            canvas.tick_left(boxes[0].bottom - share * (PANEL_HEIGHT - 1), boxes[0], f"{share:.0%}")
    bottom = TOP + ROW * len(gates)
    canvas.legend(12, bottom + 6, [(SHUT, "left-saturated (shut)"), (OPEN, "right-saturated (open)")])
    canvas.legend(12, bottom + 25, [(BETWEEN, "between"), (NOT_FINITE, "NaN or Inf")])
    return canvas.pixels()


def gates_over_training(
    title: str, gates: Sequence[str], steps: Sequence[int], columns: Sequence[GatesOverTime]
) -> UInt8[np.ndarray, "height width 3"]:
    """Return a picture with a heat map per gate; sequences of different lengths end at the top.

    Args:
        title: What is shown.
        gates: Their names.
        steps: The training step of every column, ascending.
        columns: For every step the mean activation of every gate, between 0 and 1 and NaN where it is no number.

    Raises:
        ValueError: If there is no gate or no column, not one column for each step, or a column has other gates.
    """
    rows = sorted({len(column.values) for column in columns})
    if not gates or rows != [len(gates)] or len(columns) != len(steps):
        raise ValueError(
            f"{len(columns)} columns of {rows} rows for {len(steps)} training steps and {len(gates)} gates; "
            "expected one column for each step, with a row for each gate"
        )
    first = FIRST_HISTORY
    bottom = first.top + HISTORY_ROW * len(gates)
    canvas = Canvas(490, bottom + 30, title)
    canvas.text(12, 33, "mean of every gate: timestep up, training step across", size=14)
    longest = int(max(column.widths.sum() for column in columns))
    for row, gate in enumerate(gates):
        box = Box(first.left, first.top + HISTORY_ROW * row, first.right, first.bottom + HISTORY_ROW * row)
        canvas.text_upwards(24, (box.top + box.bottom) // 2, gate, size=15)
        canvas.cells(box, _coloured(row, columns, longest))
        canvas.frame(box)
        for timestep in round_numbers(0, longest - 1, 4):
            canvas.tick_left(box.bottom - (timestep + 0.5) / longest * box.height, box, short(timestep))
        for index in sorted({round(number) for number in round_numbers(0, len(steps) - 1, 6)}):
            canvas.tick_below(box.left + (index + 0.5) / len(steps) * box.width, box, short(steps[index]))
    canvas.colour_bar(Box(first.right + 20, first.top, first.right + 36, bottom - 28), GATE_MEAN)
    legend = [(SHUT, "shut"), (OPEN, "open"), (NOT_FINITE, "NaN or Inf"), (ABSENT, "no such step")]
    canvas.legend(first.left - 60, bottom + 6, legend)
    return canvas.pixels()


def _draw(canvas: Canvas, box: Box, left: Float[np.ndarray, " n"], right: Float[np.ndarray, " n"]) -> None:
    """Fill every column from below as far as it is shut, and from above as far as it is open."""
    heights = (np.arange(ROWS_OF_CELLS)[::-1, None] + 0.5) / ROWS_OF_CELLS
    broken = ~np.isfinite(left + right)
    left, right = np.nan_to_num(left), np.nan_to_num(right)
    cells = np.where(1 - heights < right, 2, heights < left)
    cells[:, broken] = 3
    canvas.cells(box, COLOURS[cells])
    canvas.frame(box)
    for index in round_numbers(0, len(left) - 1, 6):
        canvas.tick_below(box.left + (index + 0.5) / len(left) * box.width, box, short(index))


def _coloured(row: int, columns: Sequence[GatesOverTime], longest: int) -> UInt8[np.ndarray, "down across 3"]:
    """Return the cells, the last timestep in the first row; of long sequences a cell for every half pixel."""
    down = min(longest, FIRST_HISTORY.height * CELLS_IN_A_PIXEL)
    values, absent = np.zeros((down, len(columns))), np.ones((down, len(columns)), dtype=bool)
    from_the_end = (np.arange(down) + 0.5) * longest / down
    for index, column in enumerate(columns):
        ends = np.cumsum(column.widths[::-1])
        inside = from_the_end < ends[-1]
        bins = np.searchsorted(ends, from_the_end[inside], side="right")
        values[inside, index] = column.values[row][::-1][bins]
        absent[inside, index] = False
    return GATE_MEAN.rgb(values, absent)
