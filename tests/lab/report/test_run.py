"""What became of an experiment, and its pictures."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rnn_diag.lab.report.run import Attempt, attempted
from rnn_diag.reporting.page.picture import inlined
from tests.lab.known_experiments import Doubling


@pytest.fixture(scope="module")
def doubled() -> Attempt:
    return attempted("doubling", Doubling(), "rnn-diag-lab doubling")


def test_pictures_take_the_colour_of_the_page_and_keep_their_names_apart(doubled: Attempt) -> None:
    picture = doubled.pictures["the_line"]
    one, other = (inlined(picture.svg, key, "twice", {"#000000": "currentColor"}) for key in ("a", "b"))
    names = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (one, other)]
    assert names[0] and not names[0] & names[1]
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', one)) <= names[0]
    assert "currentColor" in one
    assert "#000000" not in one
    assert 'aria-label="twice"' in one
    assert not re.search(r"<svg [^>]*\b(?:width|height)=", one)


def test_the_same_figure_gives_the_same_picture_on_white(doubled: Attempt) -> None:
    again = attempted("doubling", Doubling(), "").pictures["the_line"]
    assert again.svg == doubled.pictures["the_line"].svg
    np.testing.assert_array_equal(again.pixels, doubled.pictures["the_line"].pixels)
    assert again.pixels[0, 0].tolist() == [255, 255, 255]
