"""A figure in the colours of a page, and as files."""

from __future__ import annotations

import io
import re

import pytest

from rnn_diag.reporting.colours import INK
from rnn_diag.reporting.figures import gradient_profile
from rnn_diag.reporting.page.picture import drawn, inlined, svg_of

pytest.importorskip("matplotlib")


def test_names_in_pictures_are_kept_apart_and_ink_takes_the_colour_of_the_page() -> None:
    svg = svg_of(gradient_profile({"one": [-1.0, 0.0]}))
    one, other = (inlined(svg, key, "norms", {INK: "currentColor"}) for key in ("a", "b"))
    names = [set(re.findall(r' id="([^"]+)"', text)) for text in (one, other)]
    assert names[0] and not names[0] & names[1]
    assert INK in svg and INK not in one and "currentColor" in one and 'aria-label="norms"' in one


def test_the_same_figure_gives_the_same_text_and_files() -> None:
    picture = drawn(gradient_profile([-1.0, 0.0]))
    assert picture.svg == drawn(gradient_profile([-1.0, 0.0])).svg
    from PIL import Image

    assert Image.open(io.BytesIO(picture.png)).size == picture.pixels.shape[1::-1]
    assert 'style="background: #ffffff"' in picture.svg_on_white
