"""A sheet to draw on: text, axes with round numbers, heat maps and colour bars, by NumPy and Pillow alone."""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rnn_diag.reporting.colours import AXIS, GRID, INK, PAPER, Colour, ColourScale

if TYPE_CHECKING:
    from jaxtyping import UInt8

OVERSAMPLING = 2


class Box(NamedTuple):
    """A rectangle in pixels; the right and lower edge are outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.bottom - self.top


class Canvas:
    """A white sheet of the given size in pixels, with a title."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._image = Image.new("RGB", (width, height), PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self.text(12, 10, title, size=17)

    def text(self, x: float, y: float, text: str, size: int = 13, anchor: str = "la", colour: Colour = INK) -> None:
        """Write a line; `anchor` says which point of it stands at `(x, y)`, as in Pillow."""
        line, left, top = _written(text, size, anchor)
        self._draw.bitmap((math.floor(x) + left, math.floor(y) + top), line, fill=colour)

    def text_upwards(self, x: int, y: int, text: str, size: int = 13) -> None:
        """Write a line that reads from below to above, its middle at `(x, y)`."""
        line = _upwards(text, size)
        self._image.paste(line, (x - line.width // 2, y - line.height // 2))

    def line(self, *points: tuple[float, float], colour: Colour = GRID) -> None:
        """Draw straight lines from point to point."""
        self._draw.line(points, fill=colour)

    def frame(self, box: Box) -> None:
        """Draw the edge of a plot."""
        self._draw.rectangle((box.left - 1, box.top - 1, box.right, box.bottom), outline=AXIS)

    def fill(self, box: Box, colour: Colour) -> None:
        """Paint a rectangle."""
        self._draw.rectangle((box.left, box.top, box.right - 1, box.bottom - 1), fill=colour)

    def cells(self, box: Box, colours: UInt8[np.ndarray, "rows columns 3"]) -> None:
        """Paint a rectangle with a grid of coloured cells."""
        grid = Image.fromarray(np.ascontiguousarray(colours))
        self._image.paste(grid.resize((box.width, box.height), Image.Resampling.NEAREST), (box.left, box.top))

    def smooth(self, box: Box, paint: Any) -> None:
        """Paint a rectangle without jagged edges: `paint(draw, scale)` draws it `scale` times as large."""
        large = Image.new("RGB", (box.width * OVERSAMPLING, box.height * OVERSAMPLING), PAPER)
        paint(ImageDraw.Draw(large), OVERSAMPLING)
        self._image.paste(large.reduce(OVERSAMPLING), (box.left, box.top))

    def tick_below(self, x: float, box: Box, text: str) -> None:
        """Mark a position on the lower edge."""
        self.line((x, box.bottom), (x, box.bottom + 4), colour=AXIS)
        self.text(x, box.bottom + 6, text, anchor="ma")

    def tick_left(self, y: float, box: Box, text: str) -> None:
        """Mark a position on the left edge."""
        self.line((box.left - 5, y), (box.left - 1, y), colour=AXIS)
        self.text(box.left - 8, y, text, anchor="rm")

    def colour_bar(self, box: Box, scale: ColourScale) -> None:
        """Draw a scale, its numbers on the right and its label above."""
        values = np.linspace(scale.high, scale.low, box.height)[:, None]
        self.cells(box, scale.rgb(values))
        self.frame(box)
        for value in round_numbers(scale.low, scale.high, 7):
            y = box.top + (scale.high - value) / (scale.high - scale.low) * (box.height - 1)
            self.line((box.right, y), (box.right + 4, y), colour=AXIS)
            self.text(box.right + 7, y, short(value, signed=True), anchor="lm")

    def legend(self, x: int, y: int, entries: list[tuple[Colour, str]]) -> None:
        """Write what colours mean, side by side."""
        for colour, meaning in entries:
            self._draw.rectangle((x, y + 1, x + 11, y + 12), fill=colour, outline=AXIS)
            self.text(x + 17, y, meaning, size=12)
            x += 17 + math.ceil(_font(12).getlength(meaning)) + 16

    def pixels(self) -> UInt8[np.ndarray, "height width 3"]:
        """Return what was drawn, to read."""
        return np.asarray(self._image)


def round_numbers(low: float, high: float, at_most: int) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten between two values, not more than asked for.

    Example:
        >>> round_numbers(0, 99, 6)
        [0, 20, 40, 60, 80]
    """
    span = high - low
    if not span > 0:
        return [low]
    exponent = math.floor(math.log10(span / at_most))
    for factor in (1, 2, 5, 10, 20, 50):
        step = factor * 10.0**exponent
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= at_most:
            return [tidy(k * step) for k in range(first, last + 1)]
    return [low]


def tidy(value: float) -> float:
    """Return a number without the last digits' noise, as an integer where it is one."""
    value = round(value, 10)
    return int(value) if value == int(value) else value


def short(value: float, signed: bool = False) -> str:
    """Return a number in few characters.

    Example:
        >>> short(12000), short(0.25), short(3, signed=True)
        ('12k', '0.25', '+3')
    """
    sign = "+" if signed and value > 0 else ""
    if abs(value) >= 10_000:
        return f"{sign}{value / 1000:g}k"
    return f"{sign}{value:.4g}"


@lru_cache(maxsize=1024)
def _written(text: str, size: int, anchor: str) -> tuple[Image.Image, int, int]:
    """Return a line of text as a mask, and its corner from the anchor; most lines are drawn more than once."""
    across, down = size * (len(text) + 1), 2 * size  # in every direction more than any text takes: to ask costs more
    sheet = Image.new("L", (2 * across, 2 * down))
    ImageDraw.Draw(sheet).text((across, down), text, font=_font(size), anchor=anchor, fill=255)
    left, top, right, bottom = sheet.getbbox() or (0, 0, 1, 1)
    return sheet.crop((left, top, right, bottom)), left - across, top - down


@lru_cache(maxsize=64)
def _upwards(text: str, size: int) -> Image.Image:
    """Return a line that reads from below to above, on paper."""
    _, _, width, height = _font(size).getbbox(text)
    line = Image.new("RGB", (math.ceil(width) + 2, math.ceil(height) + 2), PAPER)
    ImageDraw.Draw(line).text((1, 1), text, font=_font(size), fill=INK)
    return line.rotate(90, expand=True)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
