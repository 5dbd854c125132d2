"""How every figure of the lab looks: colours that all eyes tell apart, dashed theory, names beside their lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from torch import Tensor

from rnn_diag.reporting.colours import BLACK, FAINT_ON_ANY_PAGE, LINES_ON_ANY_PAGE, SHRINKS_TO_GROWS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH: Final = 7.0
"""Inches; 700 pixels in the report."""

COLOURS: Final = LINES_ON_ANY_PAGE
"""For things that have no order. Each stands out on white and on black; neighbours differ in lightness as well."""

INK: Final = BLACK
"""Of text and theory; the report puts the page's own text colour in its place."""

FAINT: Final = FAINT_ON_ANY_PAGE
"""Of axes and of lines that only guide the eye."""

THEORY: Final[dict[str, Any]] = {"color": INK, "linestyle": (0, (4, 3)), "linewidth": 1.0, "zorder": 3}
"""How a theoretical curve is drawn, over the measured one."""

GUIDE: Final[dict[str, Any]] = {"color": FAINT, "linestyle": ":", "linewidth": 1.0, "zorder": 1}
"""How a bound or a threshold is drawn."""

_ALONG: Final = SHRINKS_TO_GROWS
_LABEL_POINTS: Final = 9.0


class LineEnd(NamedTuple):
    """Where a line ends and what is to be written there.

    Attributes:
        height: In the units of the vertical axis.
        text: A few words.
        colour: The line's own.
    """

    height: float
    text: str
    colour: str


def figure(
    rows: int = 1, columns: int = 1, height: float = 3.4, width: float = WIDTH, **layout: Any
) -> tuple[Figure, list[Axes]]:
    """Return an empty figure in the lab's style and its axes, row by row; nothing global is touched.

    Args:
        rows: How many panels beneath each other.
        columns: How many beside each other.
        height: Of the whole figure, in inches.
        width: Of the whole figure, in inches.
        **layout: What `matplotlib.figure.Figure.subplots` takes, such as `sharey` or `width_ratios`.
    """
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    grid = made.subplots(rows, columns, squeeze=False, **layout)
    for axes in grid.flat:
        _dress(axes)
    return made, list(grid.flat)


def figure_of_one_above_two(height: float = 5.4) -> Figure:
    """Return an empty figure whose first panel is as wide as the other two together, beneath it."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(WIDTH, height), layout="constrained")
    for axes in made.subplot_mosaic([["above", "above"], ["left", "right"]]).values():
        _dress(axes)
    return made


def name_axes(axes: Axes, title: str, x: str, y: str) -> None:
    """Give a panel its title and its axes their names, which end with the unit."""
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlabel(x, fontsize=_LABEL_POINTS)
    axes.set_ylabel(y, fontsize=_LABEL_POINTS)


def ordered_colours(count: int) -> list[str]:
    """Return colours for things in ascending order: from blue, for what shrinks, to red, for what grows.

    Example:
        >>> ordered_colours(3)
        ['#2b7bba', '#9a68b5', '#d9541e']
    """
    return [_mixed(k / max(count - 1, 1)) for k in range(count)]


def label_ends(axes: Axes, ends: Sequence[LineEnd]) -> None:
    """Write names to the right of a panel, each at the end of its line, moved apart where they would touch.

    Call it last: the limits of the axes must be final.
    """
    root = axes.get_figure()
    assert root is not None
    root.draw_without_rendering()  # type: ignore[union-attr]
    pixels_high = axes.get_window_extent().height
    apart = 1.15 * _LABEL_POINTS * root.dpi / 72 / pixels_high
    to_share = axes.transData + axes.transAxes.inverted()
    middle = sum(axes.get_xlim()) / 2
    heights = [min(max(float(to_share.transform((middle, end.height))[1]), 0.0), 1.0) for end in ends]
    for end, height, place in zip(ends, heights, spread(heights, apart), strict=True):
        axes.plot(
            [1.0, 1.025], [height, place], color=end.colour, linewidth=0.8,
            transform=axes.transAxes, clip_on=False, scalex=False, scaley=False,
        )  # fmt: skip
        axes.text(
            1.035, place, end.text, transform=axes.transAxes, color=end.colour, fontsize=_LABEL_POINTS, va="center"
        )


def spread(heights: Sequence[float], apart: float) -> list[float]:
    """Return the heights, moved as little as possible so that neighbours are `apart`, in the order given.

    Example:
        >>> [round(height, 3) for height in spread([0.5, 0.1, 0.5], apart=0.1)]
        [0.45, 0.1, 0.55]
    """
    order = sorted(range(len(heights)), key=heights.__getitem__)
    groups: list[list[float]] = []  # Least squares under an order: neighbours that collide share their mean.
    for rank, index in enumerate(order):
        groups.append([heights[index] - rank * apart])
        while len(groups) > 1 and _mean(groups[-2]) > _mean(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    level = [_mean(group) for group in groups for _ in group]
    places = {index: level[rank] + rank * apart for rank, index in enumerate(order)}
    return [places[index] for index in range(len(heights))]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _mixed(share: float) -> str:
    """Return the colour at a share of the way along the ascending ones."""
    place = share * (len(_ALONG) - 1)
    below = min(int(place), len(_ALONG) - 2)
    pairs = zip(*(bytes.fromhex(colour[1:]) for colour in _ALONG[below : below + 2]), strict=True)
    return "#" + bytes(round(low + (place - below) * (high - low)) for low, high in pairs).hex()


def _dress(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(which="both", color=FAINT, labelcolor=INK, labelsize=8.5)
    axes.grid(True, color=FAINT, alpha=0.22, linewidth=0.6)
    axes.set_axisbelow(True)


def name_beside(axes: Axes, values: Tensor, name: str, colour: str, at: float) -> None:
    """Write a name to the right of a falling line where it passes a height, or near its end if it stays higher.

    Args:
        axes: The panel.
        values: The line, one value per step from 0.
        name: What to write.
        colour: The line's own.
        at: The height.
    """
    step = int((values >= at).sum()) - 1
    if step == len(values) - 1:
        step = int(0.72 * step)
    place = (step, float(values[step]))
    axes.annotate(name, place, (7, 1), textcoords="offset points", color=colour, fontsize=9, va="bottom")
