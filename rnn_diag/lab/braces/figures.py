"""What a unit does at every character: text coloured by its state, and its gates side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from rnn_diag.lab.parts.figures import COLOURS, GUIDE, INK, THEORY, WIDTH, figure, name_axes

if TYPE_CHECKING:
    from jaxtyping import Float
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS: Final = 80
"""Longest line; longer ones go on beneath."""

_HIGH, _LOW, _STRIP = COLOURS[1], COLOURS[0], COLOURS[5]
_STRENGTH: Final = 0.6  # of a colour at 1: text stays readable on it, on a white page and on a black one
_LEVELS: Final = 10  # told apart in HTML
_NARROWEST: Final = 68  # columns of a figure, so that characters stay together
_STRIP_HEIGHT: Final = 0.26  # of a line of text


def lines_of(characters: Sequence[str], columns: int = COLUMNS) -> list[range]:
    r"""Return the positions of every line: lines end after `\n` and where they are full.

    Example:
        >>> lines_of("ab\ncdefg", columns=3)
        [range(0, 3), range(3, 6), range(6, 8)]
    """
    lines, start = [], 0
    for position, character in enumerate(characters):
        if character == "\n" or position + 1 - start == columns:
            lines.append(range(start, position + 1))
            start = position + 1
    return [*lines, range(start, len(characters))] if start < len(characters) else lines


def coloured_html(characters: Sequence[str], values: Sequence[float], strips: Mapping[str, Sequence[float]]) -> str:
    r"""Return a fragment of HTML: the text on colours from -1 to 1, beneath every line one strip per further row.

    Args:
        characters: One string each; markup in them is escaped, a line end is shown as an arrow.
        values: From -1 to 1, one per character.
        strips: Rows of numbers from 0 to 1 by name; filled is 1.

    Example:
        >>> "&lt;" in coloured_html("<", [0.5], {"forget": [1.0]})
        True
    """
    blocks = []
    for line in lines_of(characters):
        tints = [_css_tint(values[p]) for p in line]
        letters = _runs([(tint, visible(characters[p])) for tint, p in zip(tints, line, strict=True)])
        rows = [_html_strip([strip[p] for p in line]) for strip in strips.values()]
        blocks.append(f'<div style="margin-bottom:5px">{letters}{"".join(rows)}</div>')
    return (
        "<div style=\"font:13px/1.4 ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;white-space:pre\">"
        f"{''.join(blocks)}</div>\n"
        f'<p class="faint"><span style="background:{_css_tint(1.0)}">&nbsp;near 1&nbsp;</span> '
        f'<span style="background:{_css_tint(-1.0)}">&nbsp;near −1&nbsp;</span> '
        f"Strips from top to bottom, filled is 1: {escape(', '.join(strips))}.</p>"
    )


def coloured_figure(
    characters: Sequence[str], values: Sequence[float], strips: Mapping[str, Sequence[float]]
) -> Figure:
    """Return the same as a figure.

    Args:
        characters: One string each.
        values: From -1 to 1, one per character.
        strips: Rows of numbers from 0 to 1 by name; filled is 1.
    """
    from matplotlib.figure import Figure

    lines = lines_of(characters)
    per_line = 1.3 + _STRIP_HEIGHT * len(strips)
    height = per_line * len(lines) + 3.6
    made = Figure(figsize=(WIDTH, 0.16 * height))
    axes = made.add_axes((0.01, 0.0, 0.98, 1.0))
    axes.set_axis_off()
    for number, line in enumerate(lines):
        top = per_line * number + 0.3
        _draw_text(axes, top, [characters[p] for p in line], [values[p] for p in line])
        for row, strip in enumerate(strips.values()):
            _draw_strip(axes, top + 1.03 + _STRIP_HEIGHT * row, [strip[p] for p in line])
    _draw_key(axes, height - 2.6, list(strips))
    widest = max(_NARROWEST, *map(len, lines))
    axes.set(xlim=(-0.5, widest + 0.5), ylim=(height, 0.0), aspect="auto")
    return made


def tints(values: Sequence[float]) -> Float[np.ndarray, "one value rgba"]:
    """Return colours with opacity for numbers from -1 to 1, as an image of one row."""
    clear = [(*_rgb(_HIGH if value > 0 else _LOW), _STRENGTH * min(abs(value), 1.0)) for value in values]
    return np.array([clear])


def shades(values: Sequence[float]) -> Float[np.ndarray, "one value rgba"]:
    """Return colours with opacity for numbers from 0 to 1, as an image of one row."""
    return np.array([[(*_rgb(_STRIP), min(max(value, 0.0), 1.0)) for value in values]])


def visible(character: str) -> str:
    """Return what stands for a character: a line end and the beginning of a file have no glyph of their own."""
    return {"\n": "↵", "\N{SYMBOL FOR FILE SEPARATOR}": "¶"}.get(character, character)


def _runs(pairs: Sequence[tuple[str, str]]) -> str:
    """Return characters of one tint in one element each."""
    return "".join(
        f'<span style="background:{tint}">{escape("".join(letter for _, letter in run))}</span>'
        for tint, run in groupby(pairs, key=lambda pair: pair[0])
    )


def _html_strip(values: Sequence[float]) -> str:
    parts = ""
    for level, run in groupby(round(_LEVELS * min(max(value, 0.0), 1.0)) for value in values):
        width = len(list(run))
        parts += (
            f'<span style="display:inline-block;width:{width}ch;height:4px;background:{_css(_STRIP, level)}"></span>'
        )
    return f'<div style="height:4px;line-height:0;margin-bottom:1px">{parts}</div>'


def _css_tint(value: float) -> str:
    return _css(_HIGH if value > 0 else _LOW, round(_LEVELS * min(abs(value), 1.0)), _STRENGTH)


def _css(colour: str, level: int, strength: float = 1.0) -> str:
    red, green, blue = bytes.fromhex(colour[1:])
    return f"rgba({red},{green},{blue},{strength * level / _LEVELS:.2g})"


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (part / 255 for part in bytes.fromhex(colour[1:]))
    return red, green, blue


def _draw_text(axes: Axes, top: float, characters: Sequence[str], values: Sequence[float]) -> None:
    axes.imshow(tints(values), extent=(0.0, len(values), top + 1.0, top), aspect="auto", interpolation="nearest")
    style: dict[str, Any] = {"family": "monospace", "fontsize": 9.5, "ha": "center", "va": "baseline", "color": INK}
    style["parse_math"] = False
    for place, character in enumerate(characters):
        if character != " ":
            axes.text(place + 0.5, top + 0.76, visible(character), **style)


def _draw_strip(axes: Axes, top: float, values: Sequence[float]) -> None:
    extent = (0.0, len(values), top + 0.8 * _STRIP_HEIGHT, top)
    axes.imshow(shades(values), extent=extent, aspect="auto", interpolation="nearest")


def _draw_key(axes: Axes, middle: float, names: Sequence[str]) -> None:
    for left, value, text in ((0.0, 1.0, "near 1"), (9.0, -1.0, "near −1")):
        extent = (left, left + 7.5, middle + 0.6, middle - 0.6)
        axes.imshow(tints([value]), extent=extent, aspect="auto")
        axes.text(left + 3.75, middle, text, fontsize=8, ha="center", va="center", color=INK)
    words = f"strips from top to bottom, filled is 1: {', '.join(names)}"
    axes.text(0.0, middle + 1.5, words, fontsize=8, va="center", color=INK)


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
