"""Which gates are shut and open, over time and over units: how much of each column is saturated on either side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from rnn_diag.reporting.canvas import Box, Canvas, round_numbers, short
from rnn_diag.reporting.colours import BETWEEN, NON_FINITE, OPEN, SHUT

PANEL_HEIGHT = 92
ROW = 126
TOP = 92
COLUMNS = ((96, 366), (420, 690))
ROWS_OF_CELLS = 92


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
    canvas = Canvas(720, TOP + ROW * len(gates) + 34, title)
    canvas.text(12, 33, note, size=12)
    for (left, right), heading in zip(COLUMNS, ("over time", "over units, shut ones first"), strict=True):
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
    entries = [(SHUT, "left-saturated (shut)"), (BETWEEN, "between"), (OPEN, "right-saturated (open)")]
    canvas.legend(96, TOP + ROW * len(gates) + 6, [*entries, (NON_FINITE, "NaN or Inf")])
    return canvas.pixels()


def _draw(canvas: Canvas, box: Box, left: Float[np.ndarray, " n"], right: Float[np.ndarray, " n"]) -> None:
    """Fill every column from below as far as it is shut, and from above as far as it is open."""
    heights = (np.arange(ROWS_OF_CELLS)[::-1, None] + 0.5) / ROWS_OF_CELLS
    broken = ~np.isfinite(left + right)
    left, right = np.nan_to_num(left), np.nan_to_num(right)
    cells = np.empty((ROWS_OF_CELLS, len(left), 3), dtype=np.uint8)
    cells[:] = BETWEEN
    cells[heights < left] = SHUT
    cells[1 - heights < right] = OPEN
    cells[:, broken] = NON_FINITE
    canvas.cells(box, cells)
    canvas.frame(box)
    for place in round_numbers(0, len(left) - 1, 6):
        canvas.tick_below(box.left + (place + 0.5) / len(left) * box.width, box, short(place))
