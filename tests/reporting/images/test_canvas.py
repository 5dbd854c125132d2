"""Axes have few round numbers, and letters stand where Pillow puts them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from rnn_diag.reporting.colours import INK, PAPER
from rnn_diag.reporting.images.canvas import Canvas, round_numbers, short


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 1), (0, 9999), (-8, 4), (-0.003, 0.001), (0, 1e9)])
def test_ticks_are_round_few_and_within_the_range(low, high):
    ticks = round_numbers(low, high, 6)
    assert 1 <= len(ticks) <= 6
    assert all(low - 1e-12 <= tick <= high + 1e-12 for tick in ticks)
    assert [short(tick) for tick in ticks] == sorted({short(t) for t in ticks}, key=[short(t) for t in ticks].index)


@pytest.mark.parametrize("anchor", ["la", "ma", "rm", "lm", "ra"])
@pytest.mark.parametrize("text", ["encoder.l0_reverse", "+0.25", " ", "", "|dL/dh_t|, gjpqy", "Ä文"])
def test_a_line_is_written_as_pillow_writes_it(anchor, text):
    expected = Image.new("RGB", (300, 60), PAPER)
    ImageDraw.Draw(expected).text((150, 30), text, font=ImageFont.load_default(13), anchor=anchor, fill=INK)
    canvas = Canvas(300, 60, "")
    canvas.text(150.7, 30.2, text, anchor=anchor)
    assert np.array_equal(canvas.pixels(), expected)
