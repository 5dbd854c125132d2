"""Eigenvalues of recurrent matrices on the complex plane, with the unit circle, and their singular values beneath."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnn_diag.reporting.colours import ALARM, AXIS, GRID, INK, LINES, NOT_FINITE, Colour
from rnn_diag.reporting.images.canvas import Box, Canvas, round_numbers, short

if TYPE_CHECKING:
    from jaxtyping import Complex, Float, UInt8

SIDE = 172
CELL = (236, 298)
TOP = 58
DECADES = (-3.0, 1.0)


class Spectrum(NamedTuple):
    """Eigenvalues and singular values of one matrix."""

    eigenvalues: Complex[np.ndarray, " n"]
    singular_values: Float[np.ndarray, " n"]


def eigenvalue_plane(title: str, spectra: Mapping[str, Spectrum]) -> UInt8[np.ndarray, "height width 3"]:
    """Return a picture with one panel per matrix, all on one scale.

    The scale shows the square from -1.5 to 1.5 as long as every eigenvalue is in it, and doubles until they are.

    Raises:
        ValueError: If there is no matrix.
    """
    if not spectra:
        raise ValueError("no matrix to draw; expected at least one")
    across = 1 if len(spectra) == 1 else 2
    down = math.ceil(len(spectra) / across)
    canvas = Canvas(max(24 + CELL[0] * across, 420), TOP + CELL[1] * down + 8, title)
    canvas.text(12, 33, "eigenvalues tell the end, singular values the beginning", size=14)
    half = _half_width(spectra)
    for index, (name, spectrum) in enumerate(spectra.items()):
        left, top = 44 + CELL[0] * (index % across), TOP + 24 + CELL[1] * (index // across)
        _draw_plane(canvas, Box(left, top, left + SIDE, top + SIDE), name, spectrum.eigenvalues, half)
        _draw_singular_values(
            canvas, Box(left, top + SIDE + 34, left + SIDE, top + SIDE + 54), spectrum.singular_values
        )
    return canvas.pixels()


def _half_width(spectra: Mapping[str, Spectrum]) -> float:
    largest = max((np.abs(_finite(spectrum.eigenvalues)).max(initial=0.0) for spectrum in spectra.values()), default=0)
    half = 1.5
    while half < largest and half < 1e6:
        half *= 2
    return half


def _draw_plane(canvas: Canvas, box: Box, name: str, eigenvalues: Complex[np.ndarray, " n"], half: float) -> None:
    finite = _finite(eigenvalues)
    outside = int((np.abs(finite) > 1).sum())
    radius = f"radius {np.abs(finite).max():.3f}" if len(finite) == len(eigenvalues) and len(finite) else "NaN or Inf"
    canvas.text(box.left, box.top - 20, name, size=14)
    canvas.text(
        box.right, box.top - 19, radius, anchor="ra", colour=_judged(outside > 0, len(finite) < len(eigenvalues))
    )

    def paint(draw: Any, scale: int) -> None:
        def at(value: complex) -> tuple[float, float]:
            return (0.5 + value.real / half / 2) * SIDE * scale, (0.5 - value.imag / half / 2) * SIDE * scale

        for tick in round_numbers(-half, half, 7):
            draw.line((at(tick - half * 1j), at(tick + half * 1j)), fill=GRID, width=scale)
            draw.line((at(-half + tick * 1j), at(half + tick * 1j)), fill=GRID, width=scale)
        draw.line((at(-half), at(half)), fill=AXIS, width=scale)
        draw.line((at(-half * 1j), at(half * 1j)), fill=AXIS, width=scale)
        draw.ellipse((at(-1 + 1j), at(1 - 1j)), outline=INK, width=2 * scale)
        size = scale * (3.0 if len(finite) <= 64 else 2.2)
        for value in sorted(finite.tolist(), key=abs):
            x, y = at(value)
            colour = ALARM if abs(value) > 1 else LINES[0]
            draw.ellipse((x - size, y - size, x + size, y + size), fill=colour)

    canvas.smooth(box, paint)
    canvas.frame(box)
    for tick in round_numbers(-half, half, 4):
        share = (tick + half) / (2 * half)
        canvas.tick_below(box.left + share * box.width, box, short(tick))
        canvas.tick_left(box.bottom - share * box.height, box, short(tick))


def _draw_singular_values(canvas: Canvas, box: Box, values: Float[np.ndarray, " n"]) -> None:
    """Draw every singular value as a line on a strip of four decades."""
    low, high = DECADES
    canvas.frame(box)
    for decade in range(int(low), int(high) + 1):
        x = box.left + (decade - low) / (high - low) * box.width
        canvas.line((x, box.top), (x, box.bottom), colour=INK if decade == 0 else GRID)
        canvas.text(x, box.bottom + 4, f"{10.0**decade:g}", anchor="ma", size=12)
    finite = values[np.isfinite(values)]
    logs = np.log10(np.maximum(finite, 10.0**low))
    columns = (box.left + np.minimum((logs - low) / (high - low), 1.0) * (box.width - 1)).astype(int).tolist()
    for x, is_alarming in dict(zip(columns, (finite > 1).tolist(), strict=True)).items():  # of one column, the last
        canvas.line((x, box.top + 3), (x, box.bottom - 4), colour=ALARM if is_alarming else LINES[0])
    largest = f"largest {finite.max():.3f}" if len(finite) == len(values) and len(finite) else "NaN or Inf"
    canvas.text(
        box.left + box.width / 2,
        box.bottom + 19,
        f"singular values, {largest}",
        anchor="ma",
        size=12,
        colour=_judged(False, len(finite) < len(values)),
    )


def _finite(values: Complex[np.ndarray, " n"]) -> Complex[np.ndarray, " m"]:
    kept: np.ndarray = values[np.isfinite(values)]
    return kept


def _judged(alarming: bool, broken: bool) -> Colour:
    return NOT_FINITE if broken else ALARM if alarming else INK
