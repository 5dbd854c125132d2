"""One unit and its gates over a stretch of text, character by character."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from rnn_diag.lab.coloured_text import shades, tints, visible
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
        gates: From 0 to 1, by name.
        others: Further units, from -1 to 1, by name.
    """

    characters: Sequence[str]
    aside: Sequence[bool]
    is_open: Sequence[int]
    activation: Sequence[float]
    gates: Mapping[str, Sequence[float]]
    others: Mapping[str, Sequence[float]]

    def between(self, start: int, stop: int) -> Course:
        """Return a part of it."""
        part = slice(start, stop)
        gates, others = ({name: strip[part] for name, strip in rows.items()} for rows in (self.gates, self.others))
        return Course(self.characters[part], self.aside[part], self.is_open[part], self.activation[part], gates, others)


def unit_and_gates(course: Course, around: Mapping[str, int], unit: int) -> Figure:
    """Return the unit as a line over the truth, and its gates as strips, over the characters near some places.

    Args:
        course: The whole text.
        around: Titles and places, each shown a third of the way from the left.
        unit: The unit's number.
    """
    made, panels = figure(rows=2 * len(around), height=3.3 * len(around), height_ratios=[1.3, 1.0] * len(around))
    for (title, place), line, strips in zip(around.items(), panels[::2], panels[1::2], strict=True):
        start = max(0, min(place - SHOWN // 3, len(course.characters) - SHOWN))
        shown = course.between(start, start + SHOWN)
        _draw_line(line, shown)
        name_axes(line, title, "", f"tanh c, unit {unit}")
        _draw_strips(strips, shown)
    panels[-1].set_xlabel("the text, character by character; purple: comments and strings", fontsize=9)
    return made


def _draw_line(axes: Axes, shown: Course) -> None:
    places = range(len(shown.characters))
    axes.step(places, [2 * value - 1 for value in shown.is_open], where="mid", **THEORY)
    axes.step(places, shown.activation, where="mid", color=COLOURS[1], linewidth=2.0)
    axes.axhline(0.0, **GUIDE)
    axes.set(ylim=(-1.12, 1.12), yticks=[-1, 0, 1], xlim=(-0.5, len(places) - 0.5), xticks=[])


def _draw_strips(axes: Axes, shown: Course) -> None:
    images = [*map(shades, shown.gates.values()), *map(tints, shown.others.values())]
    wide = len(shown.characters) - 0.5
    for row, image in enumerate(images):
        axes.imshow(image, extent=(-0.5, wide, row + 0.42, row - 0.42), aspect="auto", interpolation="nearest")
    axes.set(ylim=(len(images) - 0.5, -0.5), xlim=(-0.5, wide))
    axes.set_yticks(range(len(images)), [*shown.gates, *shown.others], fontsize=9)
    axes.set_xticks(range(len(shown.characters)), [visible(character) for character in shown.characters])
    axes.tick_params(axis="x", length=0)
    axes.grid(False)
    for label, aside in zip(axes.get_xticklabels(), shown.aside, strict=True):
        label.set(family="monospace", fontsize=8, color=COLOURS[3] if aside else INK, parse_math=False)
