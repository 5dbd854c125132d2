"""What only several batches together tell of a layer: whether it ever learns, and whether its states are carried on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from rnn_diag.doctor.tally import Tally

SEVERAL = 3
"""Measured batches in a row."""

LONG = 10
"""Batches; networks that take turns, as in adversarial training, rarely leave one out for longer."""

CARRIED_ON = 2
"""Batches that started elsewhere, once one had started from zero, as a carried state does and data does not."""


@dataclass
class _Past:
    """What is known of one layer.

    Attributes:
        idle: Measured batches in a row in which no gradient came.
        since: The first of them.
        version: How often the layer's weights had been changed when it was measured.
        from_zero: Whether a batch started from zero.
        went_on: How many batches later started elsewhere, off the graph.
    """

    idle: int = 0
    since: int = 0
    version: int = -1
    from_zero: bool = False
    went_on: int = 0


class Course:
    """Follows the layers of one run from measured batch to measured batch."""

    def __init__(self) -> None:
        self._past: dict[str, _Past] = {}
        self._batch = 0

    def note(self, layer: str, tally: Tally | None, batch: int, version: int) -> None:
        """Take note of a measured batch.

        Args:
            layer: Its name.
            tally: What was measured of it; None where it did not run.
            batch: The batch's place in the run.
            version: How often the layer's weights have been changed: what is trained at other batches than those that
                are measured is at work.
        """
        past = self._past.setdefault(layer, _Past())
        self._batch = batch
        if tally is not None and tally.backward is not None:
            past.idle = 0
        elif past.idle and past.version == version:
            past.idle += 1
        else:
            past.idle, past.since, past.version = 1, batch, version
        if tally is not None and tally.starts is not None:
            past.went_on += past.from_zero and tally.starts.cut_off
            past.from_zero = past.from_zero or tally.starts.at_zero

    def idle_for(self, layer: str) -> int:
        """Return for how many batches a layer has got no gradient; 0 as long as that may be a matter of turns."""
        past = self._past.get(layer, _Past())
        batches = self._batch - past.since + 1
        return batches if past.idle >= SEVERAL and batches >= LONG else 0

    def facts(self, layer: str) -> dict[str, Any]:
        """Return the fields of `Vitals` that come of it."""
        past = self._past.get(layer, _Past())
        carried = {"carried_state": True} if past.went_on >= CARRIED_ON else {}
        return {"batches": self.idle_for(layer), **carried}


def times_changed(module: nn.Module) -> int:
    """Return how often the weights of a module have been changed in place, as optimisers do.

    Example:
        >>> import torch
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> before = times_changed(layer)
        >>> with torch.no_grad():
        ...     _ = layer.weight.mul_(2)
        >>> times_changed(layer) - before
        1
    """
    return sum(parameter._version for parameter in module.parameters())
