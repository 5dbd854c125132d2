"""How a number is spread over sequences, at every step: median, 10th and 90th percentile of its logarithm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

MOST_SEQUENCES = 64
PERCENTILES = (0.5, 0.1, 0.9)
"""What is shown of a spread: the median, the 10th and the 90th percentile."""


@dataclass(frozen=True)
class Bands:
    """The logarithms of what several sequences had at every step, of one or several calls, on one or several ranks.

    Of each call the first 64 sequences are kept, so that what ranks exchange is bounded.

    Attributes:
        logs: To the base 10, by step and sequence; minus infinity for a zero.
        lengths: How many steps every sequence has; what is behind them means nothing.
    """

    logs: Float[Tensor, "step sequence"]
    lengths: Int[Tensor, " sequence"]

    @classmethod
    def of(
        cls,
        values: Float[Tensor, "step sequence"],
        valid: Bool[Tensor, "step sequence"],
        most: int | None = MOST_SEQUENCES,
    ) -> Bands:
        """Return the bands of values that are valid at the front of every sequence; sequences without any are left out.

        Args:
            values: The values.
            valid: Which of them count.
            most: How many sequences are kept at most; None for all.

        Example:
            >>> values = torch.tensor([[1.0, 10.0, 100.0], [0.0, 10.0, 7.0]])
            >>> Bands.of(values, torch.tensor([[True, True, True], [True, True, False]])).percentiles.tolist()
            [[1.0, -inf], [0.0, -inf], [2.0, 1.0]]
        """
        lengths = valid.sum(0)
        chosen = lengths.nonzero().flatten()[:most]
        logs = torch.log10(values[:, chosen]).to(torch.float32)
        return cls(logs.cpu(), lengths[chosen].cpu())

    def __add__(self, other: Bands) -> Bands:
        steps = max(len(self.logs), len(other.logs))
        logs = [pad(one.logs, (0, 0, 0, steps - len(one.logs))) for one in (self, other)]
        return Bands(torch.cat(logs, dim=1), torch.cat((self.lengths, other.lengths)))

    @property
    def percentiles(self) -> Float[np.ndarray, "three steps"]:
        """Median, 10th and 90th percentile at every step that any sequence has: the nearest of the values there are.

        NaN at a step where any sequence has NaN.
        """
        lengths = self.lengths.numpy()
        longest = lengths.max(initial=0)
        valid = np.arange(longest)[:, None] < lengths
        logs = np.where(valid, self.logs[:longest].numpy(), np.inf)
        ranks = np.rint(np.array(PERCENTILES, logs.dtype)[:, None] * (valid.sum(1) - 1).astype(logs.dtype))
        found: Float[np.ndarray, "three steps"] = np.take_along_axis(np.sort(logs), ranks.T.astype(int), axis=1).T
        found[:, np.isnan(logs).any(1)] = np.nan
        return found


def middle(values: Float[Tensor, " any"]) -> float:
    """Return the median, of an even number of values the mean of the middle two; NaN without any.

    Example:
        >>> middle(torch.tensor([4.0, 1.0, 2.0, 9.0])), middle(torch.tensor([]))
        (3.0, nan)
    """
    ordered = values.sort().values
    return (float(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2])) / 2 if len(ordered) else torch.nan


def spread_of(values: Float[Tensor, " any"]) -> list[float]:
    """Return the median, and the 10th and 90th percentile: the nearest of the values."""
    if not len(values):
        return [torch.nan] * len(PERCENTILES)
    ranks = (torch.tensor(PERCENTILES[1:], dtype=values.dtype) * (len(values) - 1)).round().long()
    return [middle(values), *values.sort().values[ranks].tolist()]
