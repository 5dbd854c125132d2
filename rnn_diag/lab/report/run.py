"""One run of one experiment: its outcome with the pictures drawn, or what went wrong."""

from __future__ import annotations

import io
import re
import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from rnn_diag.lab.experiment import Check, Experiment, Outcome, one_thread
from rnn_diag.lab.parts.figures import INK

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Attempt:
    """What became of an experiment.

    Attributes:
        name: Of its file and on the command line.
        command: What runs it again.
        experiment: With its settings.
        seconds: How long it took, drawing included.
        outcome: What came out, or None if it failed.
        pictures: Its figures by name.
        error: What went wrong, in one line; empty otherwise.
        stack: Where it went wrong.
    """

    name: str
    command: str
    experiment: Experiment
    seconds: float
    outcome: Outcome | None
    pictures: dict[str, Picture] = field(default_factory=dict)
    error: str = ""
    stack: str = ""

    @property
    def holds(self) -> bool:
        """Whether it ran and theory and measurement agree."""
        return self.outcome is not None and self.outcome.holds

    @property
    def disagreements(self) -> list[Check]:
        """The checks that do not hold."""
        return [] if self.outcome is None else [check for check in self.outcome.checks if not check.holds]

    @property
    def verdict(self) -> str:
        """How it went, in a few words."""
        if self.outcome is None:
            return "failed"
        count, differ = len(self.outcome.checks), len(self.disagreements)
        return f"{count} of {count} checks hold" if not differ else f"{differ} of {count} checks do not hold"


def attempted(name: str, experiment: Experiment, command: str) -> Attempt:
    """Run an experiment and draw its figures; what goes wrong is noted and stops nobody else."""
    start = time.perf_counter()
    try:
        with one_thread():
            outcome = experiment.run()
        pictures = {title: drawn(figure) for title, figure in outcome.figures.items()}
    except Exception as error:
        message = f"{type(error).__name__}: {' '.join(str(error).split())}"
        seconds = time.perf_counter() - start
        return Attempt(name, command, experiment, seconds, None, {}, message, traceback.format_exc())
    return Attempt(name, command, experiment, time.perf_counter() - start, outcome, pictures)


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

    def inline(self, key: str, description: str) -> str:
        """Return the SVG element for a page: names of its own, as wide as there is room, text in the page's colour.

        Args:
            key: Set before every name inside, so that pictures on one page do not mix.
            description: What a screen reader says, escaped.
        """
        element = self.svg[self.svg.index("<svg ") :]
        element = re.sub(r"<metadata>.*?</metadata>", "", element, count=1, flags=re.DOTALL)
        element = re.sub(r'(<svg [^>]*?)width="[^"]*"', r"\1", element, count=1)
        element = re.sub(r'(<svg [^>]*?)height="[^"]*"', r"\1", element, count=1)
        element = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{key}-", element)
        element = element.replace("<svg ", f'<svg role="img" aria-label="{description}" ', 1)
        return element.replace(INK, "currentColor")


def drawn(figure: Figure) -> Picture:
    """Return a figure's picture; the same figure gives the same bytes."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    vectors = io.StringIO()
    with rc_context({"svg.hashsalt": "rnn_diag", "svg.fonttype": "path"}):
        figure.savefig(vectors, format="svg", transparent=True, metadata={"Date": None})
    figure.set_dpi(DOTS_PER_INCH)
    figure.set_facecolor("white")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Picture(vectors.getvalue(), np.asarray(canvas.buffer_rgba())[..., :3].copy())
