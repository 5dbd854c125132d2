"""Coloured text: what is escaped, where lines end, how strong a colour is."""

from __future__ import annotations

import re

import pytest

from rnn_diag.lab.braces.figures import coloured_figure, coloured_html, lines_of, shades, tints


def test_markup_in_the_text_is_escaped() -> None:
    made = coloured_html('<b> & "', [0.0] * 7, {})
    assert "&lt;b&gt; &amp; &quot;" in made
    assert "<b>" not in made


def test_every_character_is_shown_once_and_in_order() -> None:
    text = "for (;;) {\n}\n"
    made = coloured_html(text, [k / 13 for k in range(13)], {"gate": [0.5] * 13})
    letters = "".join(re.findall(r'<span style="background:[^"]*">([^<]*)</span>', made.split("</div>\n<p")[0]))
    assert letters == text.replace("\n", "↵")


def test_characters_of_one_colour_share_an_element() -> None:
    assert coloured_html("aaaa", [1.0] * 4, {}).count(">aaaa<") == 1


def test_lines_end_where_they_are_full() -> None:
    assert lines_of("abcde\n\nf", columns=3) == [range(0, 3), range(3, 6), range(6, 7), range(7, 8)]
    assert lines_of("") == []


def test_opacity_grows_with_the_number_and_the_sign_chooses_the_colour() -> None:
    low, none, half, high = tints([-1.0, 0.0, 0.5, 1.0])[0]
    assert none[3] == 0.0
    assert high[3] == low[3] == 2 * half[3] > 0
    assert tuple(high[:3]) != tuple(low[:3])
    assert shades([0.0, 1.5])[0, :, 3].tolist() == [0.0, 1.0]


def test_a_strip_is_as_wide_as_its_line() -> None:
    made = coloured_html("abcdef", [0.0] * 6, {"gate": [0.0, 0.0, 1.0, 1.0, 1.0, 0.0]})
    assert [int(width) for width in re.findall(r"width:(\d+)ch", made)] == [2, 3, 1]


@pytest.mark.parametrize("text", ["$x$ { }\n", "\N{REPLACEMENT CHARACTER}\\frac"])
def test_a_figure_draws_any_characters(text: str) -> None:
    pytest.importorskip("matplotlib")
    made = coloured_figure(text, [0.5] * len(text), {"gate": [1.0] * len(text)})
    made.draw_without_rendering()
    drawn = "".join(label.get_text() for label in made.axes[0].texts)
    assert all(character in drawn for character in text if not character.isspace())
