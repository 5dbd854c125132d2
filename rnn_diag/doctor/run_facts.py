"""What is known of a run besides what is measured of its layers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Clipping:
    """How often and how strongly gradients were clipped.

    Attributes:
        share: Share of optimiser steps at which they were.
        factor: By what they were multiplied, as a median over those steps.
        steps: Optimiser steps seen.
        limit: The norm that they are clipped to.
    """

    share: float
    factor: float
    steps: int
    limit: float

    @classmethod
    def of(cls, factors: Iterable[float], limit: float) -> Clipping | None:
        """Return it from what the gradient of each optimiser step was multiplied by; None if that is never known.

        Args:
            factors: By what each gradient was multiplied; 1 where it was not clipped.
            limit: The norm that it is clipped to.

        Example:
            >>> Clipping.of([0.25, 1.0, 0.5, 0.25], limit=0.5)
            Clipping(share=0.75, factor=0.25, steps=4, limit=0.5)
        """
        known = [factor for factor in factors if math.isfinite(factor)]
        cut = [factor for factor in known if factor < 1]
        if not known:
            return None
        return cls(len(cut) / len(known), statistics.median(cut) if cut else 1.0, len(known), limit)


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run.

    Attributes:
        batches: How many measured batches were judged, this one included.
        amp_scaled: Whether a gradient scaler is at work.
        clipping: How gradients were clipped; None where they are not, or it is not known.
        clips_to: The norm that gradients are clipped to, known before any step was; NaN where they are not.
        without_gradient: For how many batches each layer has got no gradient; 0 while it may be a matter of turns.
        with_zero_gradient: For how many measured batches in a row each layer's gradients were all exactly zero.
        carried: Layers whose states are known to be carried over from batch to batch.
        frozen: Layers none of whose weights needs a gradient.
        untrained: Layers whose weights need gradients and are in no optimiser.
    """

    batches: int = 1
    amp_scaled: bool = False
    clipping: Clipping | None = None
    clips_to: float = math.nan
    without_gradient: Mapping[str, int] = field(default_factory=dict)
    with_zero_gradient: Mapping[str, int] = field(default_factory=dict)
    carried: frozenset[str] = frozenset()
    frozen: frozenset[str] = frozenset()
    untrained: frozenset[str] = frozenset()
