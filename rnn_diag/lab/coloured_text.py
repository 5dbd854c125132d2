"""Text coloured character by character by a number, with strips of further numbers beneath every line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Final

from rnn_diag.lab.figure_style import COLOURS, FAINT, INK, WIDTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HIGH: Final = COLOURS[1]
"""Behind characters at which the number is near 1."""

LOW: Final = COLOURS[0]
"""Behind characters at which it is near -1."""

COLUMNS: Final = 80
"""Longest line; longer ones go on beneath."""

_STRENGTH: Final = 0.6  # of the colour at 1: the text stays readable on white and on black
_LEVELS: Final = 20
_STRIP: Final = COLOURS[5]


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
        strips: Rows of numbers from 0 to 1 by name; dark is 1.

    Example:
        >>> "&lt;" in coloured_html("<", [0.5], {"forget": [1.0]})
        True
    """
    key = "".join(f"<div>{_strip_name(name)}</div>" for name in strips)
    blocks = "".join(_block(line, characters, values, strips) for line in lines_of(characters))
    return (
        '<div style="font:13px/1.35 ui-monospace,Menlo,Consolas,\'DejaVu Sans Mono\',monospace;white-space:pre">'
        f"{blocks}</div>\n"
        '<div class="faint" style="font-size:13px">'
        f'<span style="background:{_tint(1.0)}">&nbsp;near 1&nbsp;</span> '
        f'<span style="background:{_tint(-1.0)}">&nbsp;near −1&nbsp;</span> '
        f"Strips from top to bottom, dark is 1:{key}</div>"
    )


def coloured_figure(characters: Sequence[str], values: Sequence[float], strips: Mapping[str, Sequence[float]]) -> Figure:
    """Return the same as a figure: lines of text on colours, strips beneath them.

    Args:
        characters: One string each.
        values: From -1 to 1, one per character.
        strips: Rows of numbers from 0 to 1 by name; dark is 1.
    """
    from matplotlib.figure import Figure

    lines = lines_of(characters)
    per_line = 1.0 + 0.24 * len(strips) + 0.25
    high = per_line * len(lines) + 1.9
    made = Figure(figsize=(WIDTH, 0.158 * high))
    axes = made.add_axes((0.01, 0.0, 0.98, 1.0))
    axes.set(xlim=(-0.5, COLUMNS + 0.5), ylim=(high, 0.0))
    axes.set_axis_off()
    for number, line in enumerate(lines):
        top = per_line * number
        _line(axes, top, [_shown(characters[p]) for p in line], [values[p] for p in line])
        for row, strip in enumerate(strips.values()):
            _strip(axes, top + 1.03 + 0.24 * row, [strip[p] for p in line])
    names = ", ".join(strips)
    axes.text(0, high - 1.1, "character on", fontsize=8, va="center", color=INK)
    for place, colour, text in ((8.5, HIGH, " near 1 "), (14.5, LOW, " near −1 ")):
        axes.text(place, high - 1.1, text, fontsize=8, va="center", color=INK, bbox=_boxed(colour))
    axes.text(22, high - 1.1, f"strips from top to bottom, dark is 1: {names}", fontsize=8, va="center", color=INK)
    return made
