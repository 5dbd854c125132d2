"""From numbers to colours on fixed scales, none left without one: NaN and Inf are magenta, exact zeros black."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, UInt8

Colour = tuple[int, int, int]

NON_FINITE: Final[Colour] = (255, 0, 255)
ZERO: Final[Colour] = (0, 0, 0)
ABSENT: Final[Colour] = (225, 225, 225)
INK: Final[Colour] = (38, 42, 51)
FAINT: Final[Colour] = (150, 156, 168)
GRID: Final[Colour] = (222, 226, 232)
SHUT: Final[Colour] = (213, 94, 0)
OPEN: Final[Colour] = (0, 114, 178)
STABLE: Final[Colour] = (0, 114, 178)
BETWEEN: Final[Colour] = (240, 240, 236)
ALARM: Final[Colour] = (200, 30, 40)


@dataclass(frozen=True)
class ColourScale:
    """A fixed range and the colours along it; what lies outside takes the colour of the nearer end.

    Attributes:
        anchors: Values, ascending, each with its colour; between them colours are mixed.
        label: What the values are, with their unit.
    """

    anchors: tuple[tuple[float, Colour], ...]
    label: str

    @property
    def low(self) -> float:
        """The smallest value told apart."""
        return self.anchors[0][0]

    @property
    def high(self) -> float:
        """The largest value told apart."""
        return self.anchors[-1][0]

    def rgb(
        self, values: Float[np.ndarray, "*shape"], absent: Bool[np.ndarray, "*shape"] | None = None
    ) -> UInt8[np.ndarray, "*shape 3"]:
        """Return a colour for every value; minus infinity is the logarithm of an exact zero, what is absent is grey.

        Example:
            >>> scale = ColourScale(((0.0, (0, 0, 0)), (1.0, (200, 100, 50))), "share")
            >>> scale.rgb(np.array([0.5, 7.0, np.nan])).tolist()
            [[100, 50, 25], [200, 100, 50], [255, 0, 255]]
        """
        positions = [value for value, _ in self.anchors]
        channels = [
            np.interp(np.nan_to_num(values), positions, [colour[k] for _, colour in self.anchors]) for k in range(3)
        ]
        colours: UInt8[np.ndarray, "*shape 3"] = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
        colours[~np.isfinite(values)] = NON_FINITE
        colours[np.isneginf(values)] = ZERO
        if absent is not None:
            colours[absent] = ABSENT
        return colours


GRADIENT_RATIO: Final = ColourScale(
    (
        (-8.0, (10, 16, 48)),
        (-4.0, (30, 78, 158)),
        (-1.5, (122, 178, 222)),
        (0.0, (250, 246, 226)),
        (1.0, (247, 176, 92)),
        (2.5, (208, 62, 40)),
        (4.0, (104, 4, 24)),
    ),
    "log10 of the ratio to the last step",
)
"""Blue where a gradient has become smaller than at the last step, red where larger; twelve decades."""

GATE_MEAN: Final = ColourScale(((0.0, SHUT), (0.5, BETWEEN), (1.0, OPEN)), "mean activation")
"""From shut to open, in the colours of the tab."""
