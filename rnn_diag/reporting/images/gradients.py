"""How gradients over time changed while training: one column per measured step, on a colour scale that never moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rnn_diag.reporting.colours import ABSENT, GRADIENT_RATIO, NOT_FINITE, ZERO
from rnn_diag.reporting.images.canvas import Box, Canvas, round_numbers, short

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

# TensorBoard shows pictures some 300 pixels wide unless asked for more: few pixels leave the letters large.
PLOT = Box(62, 76, 414, 276)
TICKS = 5


def gradient_heat_map(
    title: str, steps: Sequence[int], columns: Sequence[Float[np.ndarray, " lags"]]
) -> UInt8[np.ndarray, "height width 3"]:
    """Return a picture of training step (across) by steps before the last one (down).

    Args:
        title: What is shown.
        steps: The training step of every column, ascending.
        columns: `log10(‖∂L/∂h_t‖ / ‖∂L/∂h_last‖)` by distance from the last step read, nearest first, where `last`
            is the last step that has a gradient; columns may differ in length.

    Raises:
        ValueError: If there is no column, or not as many as steps.
    """
    if not columns or len(columns) != len(steps):
        raise ValueError(f"{len(columns)} columns for {len(steps)} training steps; expected one each, at least one")
    canvas = Canvas(490, 362, title)
    canvas.text(12, 33, "total gradient: log10 of |dL/dh_t| / |dL/dh_last|", size=14)
    canvas.text(12, 51, "a loss at every step makes it look flat", size=13)
    lags = max(len(column) for column in columns)
    canvas.cells(PLOT, _coloured(columns, lags))
    canvas.frame(PLOT)
    for lag in round_numbers(0, lags - 1, TICKS):
        canvas.tick_left(PLOT.top + (lag + 0.5) / lags * PLOT.height, PLOT, short(lag))
    for index in sorted({round(number) for number in round_numbers(0, len(steps) - 1, TICKS)}):
        canvas.tick_below(PLOT.left + (index + 0.5) / len(steps) * PLOT.width, PLOT, short(steps[index]))
    canvas.text_upwards(24, (PLOT.top + PLOT.bottom) // 2, "steps before the last one read")
    canvas.text((PLOT.left + PLOT.right) / 2, PLOT.bottom + 24, "training step", anchor="ma")
    canvas.colour_bar(Box(PLOT.right + 20, PLOT.top, PLOT.right + 36, PLOT.bottom), GRADIENT_RATIO)
    colours = dict(GRADIENT_RATIO.anchors)
    canvas.legend(12, 322, [(colours[-4.0], "vanishes on its way back"), (colours[2.5], "explodes")])
    canvas.legend(12, 341, [(NOT_FINITE, "NaN or Inf"), (ZERO, "exactly zero"), (ABSENT, "no such step")])
    return canvas.pixels()


def _coloured(columns: Sequence[Float[np.ndarray, " lags"]], lags: int) -> UInt8[np.ndarray, "lags columns 3"]:
    values = np.zeros((lags, len(columns)))
    absent = np.ones((lags, len(columns)), dtype=bool)
    for index, column in enumerate(columns):
        values[: len(column), index] = column
        absent[: len(column), index] = False
    return GRADIENT_RATIO.rgb(values, absent)
