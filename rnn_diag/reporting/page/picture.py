"""Figures as pictures: for a page, in the page's colours, and as files."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from matplotlib.figure import Figure

DOTS_PER_INCH: Final = 150
"""Of the pixels; 1050 across."""


@dataclass(frozen=True)
class Picture:
    """A figure, drawn.

    Attributes:
        svg: A whole SVG file on a transparent ground.
        pixels: On white.
    """

    svg: str
    pixels: UInt8[np.ndarray, "height width 3"]

    @property
    def png(self) -> bytes:
        """The pixels as a file."""
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(self.pixels).save(file, format="PNG")
        return file.getvalue()

    @property
    def svg_on_white(self) -> str:
        """The SVG file for viewers that have a dark ground of their own."""
        return self.svg.replace("<svg ", '<svg style="background: #ffffff" ', 1)


def drawn(figure: Figure) -> Picture:
    """Return a figure's picture; the same figure gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    vectors = svg_of(figure)
    figure.set_dpi(DOTS_PER_INCH)
    figure.set_facecolor("white")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Picture(vectors, np.asarray(canvas.buffer_rgba())[..., :3].copy())


def svg_of(figure: Figure) -> str:
    """Return a figure as a whole SVG file on a transparent ground; the same figure gives the same text."""
    from matplotlib import rc_context

    vectors = io.StringIO()
    with rc_context({"svg.hashsalt": "rnn_diag", "svg.fonttype": "path"}):
        figure.savefig(vectors, format="svg", transparent=True, metadata={"Date": None})
    return vectors.getvalue()


def inlined(svg: str, key: str, description: str, colours: Mapping[str, str]) -> str:
    """Return the SVG element for a page: names of its own, as wide as there is room, in the page's colours.

    Args:
        svg: A whole file, by matplotlib.
        key: Set before every name inside, so that pictures on one page do not mix.
        description: What a screen reader says, escaped.
        colours: The page's colour for each of the figure's that is not to stay, as CSS has them.
    """
    element = svg[svg.index("<svg ") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, count=1, flags=re.DOTALL)
    element = re.sub(r'(<svg [^>]*?)width="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg [^>]*?)height="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{key}-", element)
    element = element.replace("<svg ", f'<svg role="img" aria-label="{description}" ', 1)
    for own, of_the_page in colours.items():
        element = element.replace(own, of_the_page)
    return element
