"""One unit and its gates over a stretch of text, character by character."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from rnn_diag.lab.coloured_text import shades, tints
from rnn_diag.lab.figure_style import COLOURS, GUIDE, INK, THEORY, figure, name_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN: Final = 84
"""Characters that fit side by side."""


class Course(NamedTuple):
    """What goes on at every character.

    Attributes:
        characters: One string each.
        aside: Whether it belongs to a comment or a string.
        is_open: 1 where a brace is open after it.
        activation: Of the unit, from -1 to 1.
        strips: Rows of further numbers by name: gates from 0 to 1, other units from -1 to 1.
    """

    characters: Sequence[str]
    aside: Sequence[bool]
    is_open: Sequence[int]
    activation: Sequence[float]
    strips: Mapping[str, Sequence[float]]

    def between(self, start: int, stop: int) -> Course:
        """Return a part of it."""
        part = slice(start, stop)
        strips = {name: strip[part] for name, strip in self.strips.items()}
        return Course(self.characters[part], self.aside[part], self.is_open[part], self.activation[part], strips)


def unit_and_gates(course: Course, around: int, unit: int) -> Figure:
    """Return the unit as a line over the truth, and its gates as strips, over the characters near a place.

    Args:
        course: The whole text.
        around: The place to show, a third of the way from the left.
        unit: The unit's number.
    """
    start = max(0, min(around - SHOWN // 3, len(course.characters) - SHOWN))
    shown = course.between(start, start + SHOWN)
    made, (line, strips) = figure(rows=2, height=3.6, sharex=True, height_ratios=[1.5, 1.0])
    places = range(len(shown.characters))
    line.step(places, [2 * value - 1 for value in shown.is_open], where="mid", **THEORY)
    line.step(places, shown.activation, where="mid", color=COLOURS[1], linewidth=2.0)
    line.axhline(0.0, **GUIDE)
    line.set(ylim=(-1.12, 1.12), yticks=[-1, 0, 1])
    name_axes(line, f"tanh c of unit {unit}; dashed: 1 while a brace is open, else −1", "", "tanh c")
    _draw_strips(strips, shown)
    return made


def _draw_strips(axes: Axes, shown: Course) -> None:
    for row, values in enumerate(shown.strips.values()):
        image = shades(values) if min(values) >= 0 else tints(values)
        extent = (-0.5, len(values) - 0.5, row + 0.42, row - 0.42)
        axes.imshow(image, extent=extent, aspect="auto", interpolation="nearest")
    axes.set(ylim=(len(shown.strips) - 0.5, -0.5), xlim=(-0.5, len(shown.characters) - 0.5))
    axes.set_yticks(range(len(shown.strips)), list(shown.strips), fontsize=9)
    axes.set_xticks(range(len(shown.characters)), [{"\n": "↵"}.get(c, c) for c in shown.characters])
    axes.tick_params(axis="x", length=0)
    axes.grid(False)
    for label, aside in zip(axes.get_xticklabels(), shown.aside, strict=True):
        label.set(family="monospace", fontsize=8, color=COLOURS[3] if aside else INK, parse_math=False)
    axes.set_xlabel("the text, character by character; purple: comments and strings", fontsize=9)
