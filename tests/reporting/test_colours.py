"""One table of colours: scales hold to their ends, and the tab's own files have no colour that the table has not."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import rnn_diag
from rnn_diag.reporting import colours
from rnn_diag.reporting.colours import DARK, GRADIENT_RATIO, LIGHT

STATIC = Path(rnn_diag.__file__).parent / "tb" / "static"
HEX = re.compile(r"#[0-9a-fA-F]{3,8}\b")


def test_values_beyond_the_scale_take_its_ends():
    ends = GRADIENT_RATIO.rgb(np.array([-8.0, 4.0]))
    assert np.array_equal(GRADIENT_RATIO.rgb(np.array([-300.0, 300.0])), ends)


def test_a_scale_paints_what_is_no_number_what_is_zero_and_what_is_absent():
    values = np.array([np.nan, np.inf, -np.inf, 0.0])
    painted = GRADIENT_RATIO.rgb(values, absent=np.array([False, False, False, True]))
    expected = [colours.NOT_FINITE, colours.NOT_FINITE, colours.ZERO, colours.ABSENT]
    assert [tuple(colour) for colour in painted.tolist()] == [colours.channels(colour) for colour in expected]


@pytest.mark.parametrize(("selector", "theme"), [("body", LIGHT), ("body.dark", DARK)])
def test_the_style_sheet_declares_the_themes_of_the_table(selector: str, theme: dict[str, str]) -> None:
    rules = (STATIC / "style.css").read_text()
    (block,) = re.findall(rf"^{re.escape(selector)} {{(.*?)}}", rules, re.MULTILINE | re.DOTALL)
    assert dict(re.findall(r"--([a-z-]+): (#\w+);", block)) == theme


def test_the_style_sheet_names_no_colour_outside_the_themes() -> None:
    rules = (STATIC / "style.css").read_text()
    assert sorted(HEX.findall(rules)) == sorted([*LIGHT.values(), *DARK.values()])


def test_the_page_has_the_colours_of_the_table() -> None:
    text = (STATIC / "colours.js").read_text()
    declared = {
        name: HEX.findall(value) for name, value in re.findall(r"^(?:export )?const (\w+) = (.*?);$", text, re.M | re.S)
    }
    table = {
        "HOST": [*colours.TENSORBOARDS, *colours.TENSORBOARDS_IN_THE_DARK],
        "RUNS": [*colours.LINES, *colours.LINES_IN_THE_DARK],
        "NOT_FINITE": [colours.NOT_FINITE],
        "ZERO": [colours.ZERO],
        "SHUT": [colours.SHUT],
        "OPEN": [colours.OPEN],
        "FALLEN_TO_GROWN": [colour for _, colour in GRADIENT_RATIO.anchors],
        "VIRIDIS": list(colours.VIRIDIS),
        "SHUT_TO_OPEN": [*colours.SHUT_TO_OPEN, *colours.SHUT_TO_OPEN_IN_THE_DARK],
    }
    assert {name: found for name, found in declared.items() if found} == table
    (places,) = re.findall(r"FALLEN_TO_GROWN = .*\[([-\d., ]+)\]\)", text)
    assert [float(place) for place in places.split(",")] == [value for value, _ in GRADIENT_RATIO.anchors]


@pytest.mark.parametrize(
    "file", sorted(file.name for file in STATIC.glob("*.js") if file.stem not in {"uplot", "colours"})
)
def test_no_other_file_of_the_page_has_a_colour(file: str) -> None:
    assert HEX.findall((STATIC / file).read_text()) == []
