"""Pictures and the verdict into the loggers of other services, each by its own interface."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rnn_diag.reporting.markdown import Statement
from rnn_diag.terminal.html import paragraph, table

if TYPE_CHECKING:
    from jaxtyping import UInt8

VERDICT = "rnn_diag/verdict"
HEADS = ("severity", "layer", "finding", "numbers", "try")


def as_html(statements: Sequence[Statement], nothing: str = "Nothing was found.") -> str:
    """Return statements as a table in HTML, or the one sentence where there are none.

    Example:
        >>> as_html([], "nothing wrong found in 1 layer")
        '<p>nothing wrong found in 1 layer</p>'
    """
    return table(HEADS, statements) if statements else paragraph(nothing)


class Gallery:
    """Where a run's pictures and verdict are shown.

    Args:
        logger: Lightning's, or a subclass of it.
    """

    logger_type: ClassVar[str]
    """The name of the logger's class, or of a base: `lightning` and `pytorch_lightning` each have one."""

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def add_picture(self, tag: str, pixels: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Show a picture."""
        raise NotImplementedError

    def add_verdict(self, html: str, step: int) -> None:
        """Show what was found, as it stands from a training step on."""
        raise NotImplementedError


class WandbGallery(Gallery):
    """Weights & Biases: panels whose slider is the training step."""

    logger_type = "WandbLogger"

    def add_picture(self, tag: str, pixels: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Show a picture."""
        self.logger.log_image(key=tag, images=[pixels], step=step)

    def add_verdict(self, html: str, step: int) -> None:
        """Show the verdict as a panel of HTML."""
        import wandb

        self.logger.log_metrics({VERDICT: wandb.Html(html)}, step=step)


class MLflowGallery(Gallery):
    """MLflow: pictures by training step, and the verdict as an artifact that is written anew."""

    logger_type = "MLFlowLogger"

    def add_picture(self, tag: str, pixels: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Show a picture under a name of the letters that MLflow takes."""
        key = re.sub(r"[^\w/. -]", "_", tag, flags=re.ASCII)
        self.logger.experiment.log_image(self.logger.run_id, pixels, key=key, step=step)

    def add_verdict(self, html: str, step: int) -> None:
        """Show the verdict among the artifacts."""
        text = f"<!doctype html><meta charset='utf-8'><p>Training step {step}</p>{html}"
        self.logger.experiment.log_text(self.logger.run_id, text, f"{VERDICT}.html")


class CometGallery(Gallery):
    """Comet: graphics by training step, and the verdicts below each other in the HTML tab."""

    logger_type = "CometLogger"

    def add_picture(self, tag: str, pixels: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Show a picture."""
        self.logger.experiment.log_image(pixels, name=tag, step=step)

    def add_verdict(self, html: str, step: int) -> None:
        """Show the verdict beneath earlier ones."""
        self.logger.experiment.log_html(f"<h3>rnn_diag at training step {step}</h3>{html}")


class AimGallery(Gallery):
    """Aim, by the logger that it brings: images and texts by training step."""

    logger_type = "AimLogger"

    def add_picture(self, tag: str, pixels: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Show a picture."""
        import aim
        from PIL import Image

        self.logger.experiment.track(aim.Image(Image.fromarray(pixels)), name=tag, step=step)

    def add_verdict(self, html: str, step: int) -> None:
        """Show the verdict as the text that it is."""
        import aim

        self.logger.experiment.track(aim.Text(html), name=VERDICT, step=step)


GALLERIES: tuple[type[Gallery], ...] = (WandbGallery, MLflowGallery, CometGallery, AimGallery)


def gallery_of(logger: Any) -> Gallery | None:
    """Return where a logger shows pictures; None for one that takes numbers alone, and for TensorBoard's."""
    names = {base.__name__ for base in type(logger).__mro__}
    return next((kind(logger) for kind in GALLERIES if kind.logger_type in names), None)
