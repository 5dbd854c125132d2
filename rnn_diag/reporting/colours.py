"""The one table of colours, and scales that give every number one: NaN and Inf are magenta, exact zeros black.

Images, figures and the lab read it; a test compares the tab's `colours.js` and `style.css` with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8

Colour = str
"""`#` and two hexadecimal digits each for red, green and blue."""

LIGHT: Final[dict[str, Colour]] = {
    "page": "#f5f6f8",
    "surface": "#ffffff",
    "text": "#1c2430",
    "muted": "#5d6878",
    "grid": "#e3e7ec",
    "border": "#dde2e8",
    "strip": "#eceff3",
    "accent": "#1a66c2",
    "ok": "#0b7a53",
    "info": "#1a66c2",
    "warning": "#a15c00",
    "critical": "#c0262d",
    "alarm": "#c0262d",
}
"""The light theme: of the tab, and of every image and figure."""
DARK: Final[dict[str, Colour]] = {
    "page": "#1b1d21",
    "surface": "#26292f",
    "text": "#eceff4",
    "muted": "#a4aebb",
    "grid": "#383d45",
    "border": "#393e47",
    "strip": "#33373e",
    "accent": "#7ab8ff",
    "ok": "#4cd6a0",
    "info": "#7ab8ff",
    "warning": "#ffb74d",
    "critical": "#ff7b7b",
    "alarm": "#ff7b7b",
}
"""The tab's dark theme, by the same names."""

PAPER: Final = LIGHT["surface"]
INK: Final = LIGHT["text"]
MUTED: Final = LIGHT["muted"]
GRID: Final = LIGHT["grid"]
STRIP: Final = LIGHT["strip"]
ALARM: Final = LIGHT["alarm"]

BLACK: Final = "#000000"
NOT_FINITE: Final = "#ff00ff"
ZERO: Final = BLACK
ABSENT: Final = "#e1e1e1"
SHUT: Final = "#d55e00"
OPEN: Final = "#0072b2"
BETWEEN: Final = "#ededed"
AXIS: Final = "#b7bec8"

LINES: Final = ("#0072b2", "#d55e00", "#009e73", "#aa3f87", "#8a6d00", "#3a8fb7", "#5b4ab0", "#555555")
"""Of runs and layers, in the order in which they are given; the colour-blind can tell them apart as well."""
LINES_IN_THE_DARK: Final = ("#5cb8ff", "#ff9a4d", "#3fd9a4", "#f08ccf", "#f0d24a", "#8fdcff", "#b7a8ff", "#cccccc")
"""The same in the tab's dark theme."""
TENSORBOARDS: Final = ("#425066", "#12b5cb", "#e52592", "#f9ab00", "#9334e6", "#7cb342", "#e8710a")
"""Of runs, as TensorBoard itself takes them in turn; the tab has the same, and `LINES` where two runs share one."""
TENSORBOARDS_IN_THE_DARK: Final = ("#8e98a3", *TENSORBOARDS[1:])
LINES_ON_ANY_PAGE: Final = ("#2b7bba", "#d9541e", "#0f9d76", "#a864b4", "#b8860b", "#7f8793")
"""Of the lab's figures, which stand on white and on black; neighbours differ in lightness as well."""
FAINT_ON_ANY_PAGE: Final = "#808690"
SHRINKS_TO_GROWS: Final = (LINES_ON_ANY_PAGE[0], "#9a68b5", LINES_ON_ANY_PAGE[1])

SHUT_TO_OPEN: Final = (SHUT, "#eca66c", BETWEEN, "#6fb3dc", OPEN)
SHUT_TO_OPEN_IN_THE_DARK: Final = ("#ff7a1a", "#9c5a2c", "#3a3d42", "#2f6f9e", "#3da9f5")
VIRIDIS: Final = (
    *("#440154", "#482878", "#3e4989", "#31688e", "#26828e"),
    *("#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"),
)
"""The tab's scale of absolute norms, from small to large."""


def channels(colour: Colour) -> tuple[int, int, int]:
    """Return red, green and blue, from 0 to 255.

    Example:
        >>> channels("#ff8000")
        (255, 128, 0)
    """
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


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

    @property
    def stops(self) -> list[tuple[float, Colour]]:
        """The anchors along a range from 0 to 1."""
        return [((value - self.low) / (self.high - self.low), colour) for value, colour in self.anchors]

    def rgb(
        self, values: Float[np.ndarray, "*shape"], absent: Bool[np.ndarray, "*shape"] | None = None
    ) -> UInt8[np.ndarray, "*shape 3"]:
        """Return a colour for every value; minus infinity is the logarithm of an exact zero, what is absent is grey.

        Example:
            >>> scale = ColourScale(((0.0, "#000000"), (1.0, "#c86432")), "share")
            >>> scale.rgb(np.array([0.5, 7.0, np.nan])).tolist()
            [[100, 50, 25], [200, 100, 50], [255, 0, 255]]
        """
        positions = [value for value, _ in self.anchors]
        parts = np.array([channels(colour) for _, colour in self.anchors])
        mixed = [np.interp(np.nan_to_num(values), positions, parts[:, k]) for k in range(3)]
        colours: UInt8[np.ndarray, "*shape 3"] = np.rint(np.stack(mixed, axis=-1)).astype(np.uint8)
        colours[~np.isfinite(values)] = channels(NOT_FINITE)
        colours[np.isneginf(values)] = channels(ZERO)
        if absent is not None:
            colours[absent] = channels(ABSENT)
        return colours


GRADIENT_RATIO: Final = ColourScale(
    (
        (-8.0, "#0a1030"),
        (-4.0, "#1e4e9e"),
        (-1.5, "#7ab2de"),
        (0.0, "#faf6e2"),
        (1.0, "#f7b05c"),
        (2.5, "#d03e28"),
        (4.0, "#680418"),
    ),
    "log10 of the ratio to the last step",
)
"""Blue where a gradient has become smaller than at the last step, red where larger; twelve decades."""

GATE_MEAN: Final = ColourScale(
    tuple((index / 4, colour) for index, colour in enumerate(SHUT_TO_OPEN)), "mean activation"
)
"""From shut to open."""
