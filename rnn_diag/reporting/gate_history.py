"""How the gates changed while training: of every gate its mean at each timestep, one column per measured step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from rnn_diag.reporting.canvas import Box, Canvas, round_numbers, short
from rnn_diag.reporting.colours import ABSENT, GATE_MEAN, NON_FINITE

LEFT, RIGHT, TOP, HEIGHT, ROW = 84, 414, 62, 84, 112
RESOLUTION = 2


def gates_over_training(
    title: str, gates: Sequence[str], steps: Sequence[int], columns: Sequence[Float[np.ndarray, "rows bins"]]
) -> UInt8[np.ndarray, "height width 3"]:
    """Return a picture with a heat map per gate; sequences of different lengths end at the top.

    Args:
        title: What is shown.
        gates: Their names.
        steps: The training step of every column, ascending.
        columns: For every step a row per gate, its mean activation in bins of timesteps, between 0 and 1 and NaN where
            it is no number; and a last row, how many timesteps each bin has.

    Raises:
        ValueError: If there is no gate or no column, not as many columns as steps, or a column has other rows.
    """
    rows = {len(column) for column in columns}
    if not gates or rows != {len(gates) + 1} or len(columns) != len(steps):
        raise ValueError(
            f"{len(columns)} columns of {sorted(rows)} rows for {len(steps)} training steps and {len(gates)} gates; "
            "expected one for each step, with a row per gate and one of widths"
        )
    canvas = Canvas(490, TOP + ROW * len(gates) + 30, title)
    canvas.text(12, 33, "mean of every gate: timestep up, training step across", size=14)
    longest = int(max(column[-1].sum() for column in columns))
    for row, gate in enumerate(gates):
        box = Box(LEFT, TOP + ROW * row, RIGHT, TOP + ROW * row + HEIGHT)
        canvas.text_upwards(24, (box.top + box.bottom) // 2, gate, size=15)
        canvas.cells(box, _coloured(row, columns, longest))
        canvas.frame(box)
        for timestep in round_numbers(0, longest - 1, 4):
            canvas.tick_left(box.bottom - (timestep + 0.5) / longest * box.height, box, short(timestep))
        for place in sorted({round(place) for place in round_numbers(0, len(steps) - 1, 6)}):
            canvas.tick_below(box.left + (place + 0.5) / len(steps) * box.width, box, short(steps[place]))
    canvas.colour_bar(Box(RIGHT + 20, TOP, RIGHT + 36, TOP + ROW * len(gates) - 28), GATE_MEAN)
    shut, open_ = (tuple(GATE_MEAN.rgb(np.array(value)).tolist()) for value in (0.0, 1.0))
    legend = [(shut, "shut"), (open_, "open"), (NON_FINITE, "NaN or Inf"), (ABSENT, "no such step")]
    canvas.legend(LEFT - 60, TOP + ROW * len(gates) + 6, legend)
    return canvas.pixels()


def _coloured(
    row: int, columns: Sequence[Float[np.ndarray, "rows bins"]], longest: int
) -> UInt8[np.ndarray, "down across 3"]:
    """Return the cells, the last timestep in the first row; long sequences in as many cells as there are pixels."""
    down = min(longest, HEIGHT * RESOLUTION)
    values, absent = np.zeros((down, len(columns))), np.ones((down, len(columns)), dtype=bool)
    from_the_end = (np.arange(down) + 0.5) * longest / down
    for place, column in enumerate(columns):
        ends = np.cumsum(column[-1][::-1])
        inside = from_the_end < ends[-1]
        bins = np.searchsorted(ends, from_the_end[inside], side="right")
        values[inside, place] = column[row][::-1][bins]
        absent[inside, place] = False
    return GATE_MEAN.rgb(values, absent)
