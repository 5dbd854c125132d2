"""The magnitudes of weights and of their gradients, gate by gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_diag.measurements.gate_weights import WeightMap
from rnn_diag.reporting.colours import AXIS, NOT_FINITE, VIRIDIS, ZERO, ColourScale
from rnn_diag.reporting.images.canvas import Box, Canvas

if TYPE_CHECKING:
    from jaxtyping import UInt8

Array = np.ndarray[Any, Any]

DECADES = 4.0
MAGNITUDE = ColourScale(
    tuple((DECADES * (index / (len(VIRIDIS) - 1) - 1), colour) for index, colour in enumerate(VIRIDIS)),
    "log10 of the largest",
)
SIDE, ROW, TOP = 150, 156, 92
"""Narrow: TensorBoard shows pictures 350 pixels wide, and what is written in them must be readable then."""
COLUMNS = (86, 86 + SIDE + 14)


def weight_maps(title: str, maps: Mapping[str, WeightMap]) -> UInt8[np.ndarray, "height width 3"]:
    """Return a picture with a row per gate: weights on the left, their gradient on the right, each over its largest.

    In a map, input weights are left of the line and recurrent weights right of it; a row is a unit, or several.

    Raises:
        ValueError: If there is no gate.
    """
    if not maps:
        raise ValueError("no gate to draw; expected at least one")
    bottom = TOP + ROW * len(maps)
    canvas = Canvas(COLUMNS[1] + SIDE + 66, bottom + 24, title)
    canvas.text(12, 35, "magnitudes over the largest; input | recurrent", size=14)
    for left, heading in zip(COLUMNS, ("weights", "gradient"), strict=True):
        canvas.text(left + SIDE / 2, TOP - 24, heading, anchor="ma")
    weights: list[Array | None] = [one.weight.numpy() for one in maps.values()]
    grads: list[Array | None] = [None if one.grad is None else one.grad.numpy() for one in maps.values()]
    for left, columns in ((COLUMNS[0], weights), (COLUMNS[1], grads)):
        largest = max((float(np.nanmax(values)) for values in columns if values is not None), default=0.0)
        for row, (gate, values) in enumerate(zip(maps, columns, strict=True)):
            box = Box(left, TOP + ROW * row, left + SIDE, TOP + ROW * row + ROW - 28)
            if left == COLUMNS[0]:
                canvas.text(left - 8, (box.top + box.bottom) / 2, gate, size=14, anchor="rm")
            if values is None:
                canvas.text(left + SIDE / 2, (box.top + box.bottom) / 2, "no gradient", anchor="mm")
            else:
                with np.errstate(divide="ignore", invalid="ignore"):
                    canvas.cells(box, MAGNITUDE.rgb(np.log10(values / largest)))
                edge = box.left + round(box.width * maps[gate].split / values.shape[1])
                canvas.line((edge, box.top), (edge, box.bottom), colour=AXIS)
            canvas.frame(box)
    canvas.colour_bar(Box(COLUMNS[1] + SIDE + 12, TOP, COLUMNS[1] + SIDE + 26, TOP + ROW - 28), MAGNITUDE)
    canvas.legend(COLUMNS[0], bottom, [(ZERO, "exactly 0"), (NOT_FINITE, "NaN or Inf")])
    return canvas.pixels()
