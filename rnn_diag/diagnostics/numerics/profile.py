"""A mean over sequences for every step, stored as sum and count so that profiles of batches and ranks merge exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import pad

from rnn_diag.diagnostics.numerics.precision import in_double

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass(frozen=True)
class Profile:
    """One number per step, averaged over the sequences that reached it.

    Attributes:
        total: Sum over sequences.
        count: Sequences that were valid at the step.
    """

    total: Float[Tensor, " time"]
    count: Float[Tensor, " time"]

    @classmethod
    def of(cls, values: Float[Tensor, "time batch"], mask: Bool[Tensor, "time batch"]) -> Profile:
        """Return the profile of values at valid steps; a non-finite value there stays visible, padding never counts.

        Example:
            >>> import torch
            >>> Profile.of(torch.tensor([[1.0, 3.0]]), torch.tensor([[True, False]])).mean.tolist()
            [1.0]
        """
        values = in_double(values)
        mask = mask.to(values.device)
        return cls(values.masked_fill(~mask, 0.0).sum(1), mask.sum(1).to(values.dtype))

    @property
    def mean(self) -> Float[Tensor, " time"]:
        """The mean over sequences; NaN where no sequence was valid."""
        return self.total / self.count

    def __add__(self, other: Profile) -> Profile:
        steps = max(len(self.total), len(other.total))
        return Profile(
            _longer(self.total, steps) + _longer(other.total, steps),
            _longer(self.count, steps) + _longer(other.count, steps),
        )


def _longer(values: Tensor, steps: int) -> Tensor:
    return pad(values, (0, steps - len(values)))
