"""Pictures and the verdict for loggers other than TensorBoard's; one that fails is told once and left alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rnn_diag.callbacks.lightning import writes
from rnn_diag.callbacks.session.warnings import Warnings, in_words
from rnn_diag.reporting.loggers import Gallery, as_html, gallery_of
from rnn_diag.reporting.markdown import Statement

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8
    from lightning.pytorch import Trainer


class Elsewhere:
    """The loggers of a run that show pictures and are not TensorBoard's.

    Args:
        warnings: Told of what fails.
    """

    def __init__(self, warnings: Warnings) -> None:
        self._warnings = warnings
        self._deaf: set[int] = set()

    def listens(self, trainer: Trainer) -> bool:
        """Return whether a run has such a logger."""
        return bool(self._galleries(trainer))

    def show(self, trainer: Trainer, tag: str, pixels: UInt8[np.ndarray, "height width 3"], step: int) -> None:
        """Show a picture."""
        self._each(trainer, lambda one: one.add_picture(tag, pixels, step))

    def tell(self, trainer: Trainer, said: Sequence[Statement], nothing: str, step: int) -> None:
        """Show the verdict, as it stands from a step on."""
        self._each(trainer, lambda one: one.add_verdict(as_html(said, nothing), step))

    def _each(self, trainer: Trainer, act: Callable[[Gallery], None]) -> None:
        for gallery in self._galleries(trainer):
            try:
                act(gallery)
            except Exception as error:
                self._deaf.add(id(gallery.logger))
                name = type(gallery.logger).__name__
                self._warnings.warn(f"{name} gets no pictures and no verdict any more: {in_words(error)}")

    def _galleries(self, trainer: Trainer) -> list[Gallery]:
        if not writes(trainer):
            return []
        found = (gallery_of(logger) for logger in trainer.loggers if id(logger) not in self._deaf)
        return [one for one in found if one is not None]
