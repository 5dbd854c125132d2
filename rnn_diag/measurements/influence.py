"""How far back single losses reach: the memory horizon, defined here for all who show or judge it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from rnn_diag.diagnostics import Profile, half_life, joint_horizon
from rnn_diag.diagnostics.lagged_gradients import spread_lagged_norms
from rnn_diag.measurements.measure import GradientUnits, Measure, Needs
from rnn_diag.measurements.spread import Bands, middle, spread_of
from rnn_diag.measurements.statistics import Statistic
from rnn_diag.pending import Pending
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

TARGETS = 4
"""From how many steps of each sequence single losses are followed back: the last, and others spread over it.

With a loss at every step the horizon of eight sequences is then within an eighth of that from all steps, or within a
step."""

THRESHOLD = 0.01
"""Share of its peak that counts as reaching."""


@dataclass(frozen=True)
class Influence:
    r"""What single steps' losses have of earlier states, of one or several calls, on one or several ranks.

    One curve for each target and sequence, by lag :math:`\tau`: the norm of what of the loss of step :math:`t'` alone
    arrives at the state :math:`\tau` steps before. Its horizon is the largest lag at which
    :math:`\lVert \partial l_{t'} / \partial h_{t'-\tau} \rVert` or
    :math:`\lVert \partial l_{t'} / \partial c_{t'-\tau} \rVert` is at least `threshold` of that curve's own peak, the
    larger of the two lags. *The* memory horizon is the median over targets and sequences, of an even number the mean of
    the middle two. Every value is there to take it from, so calls and ranks merge exactly.

    Attributes:
        threshold: Share of a curve's peak that counts as reaching.
        profile: Sum over curves of `‖∂l/∂h‖`, relative to lag 0, by lag.
        cell_profile: The same of `‖∂l/∂c‖`; None for a recurrence without a memory cell.
        bands: The spread of `‖∂l/∂h‖`, relative to lag 0, over curves.
        horizons: Of every curve, in steps.
        half_lives: Of every curve: steps beyond its peak until half of it is left, the longer of those of `h` and `c`;
            infinite where it never falls so far.
        furthest: Of every curve: the largest lag that could be seen.
    """

    threshold: float
    profile: Profile
    cell_profile: Profile | None
    bands: Bands
    horizons: Float[Tensor, " curve"]
    half_lives: Float[Tensor, " curve"]
    furthest: Float[Tensor, " curve"]

    statistics: ClassVar[tuple[Statistic, ...]] = (
        Statistic(
            "steps",
            "steps",
            "largest lag at which at least `threshold` of the influence is left, through `h` or `c`; the median over "
            "targets and sequences",
            headline=True,
            chart="memory horizon",
            vital="horizon",
        ),
        Statistic(
            "share",
            "share",
            "the same over the median of the largest lags that could be seen; at 1 the horizon may be longer",
            vital="horizon_share",
        ),
        Statistic(
            "half_life",
            "steps",
            "steps until half of the influence is left, a median, too; infinite where it never is",
            headline=True,
            chart="memory horizon",
        ),
    )

    @classmethod
    def of(cls, trace: Trace, targets: int = TARGETS, threshold: float = THRESHOLD) -> Influence:
        """Return the curves of one call: of targets that have a loss of their own.

        Args:
            trace: What was recorded, with gradients.
            targets: From how many steps of each sequence losses are followed back, from the last one read to the first.
            threshold: Share of the influence that counts as reaching.

        Example:
            >>> from rnn_diag.testing.known import linear_trace
            >>> influence = Influence.of(linear_trace(0.5, steps=20))
            >>> influence.horizon, influence.half_life, influence.share
            (6.0, 1.0, 0.3157894736842105)
        """
        return cls.pending(trace, targets, threshold).here()

    @classmethod
    def pending(cls, trace: Trace, targets: int = TARGETS, threshold: float = THRESHOLD) -> Pending[Influence]:
        """Ask the call's device for what they are made of."""
        return Pending(spread_lagged_norms(trace, targets), partial(cls._made_of, trace, threshold))

    @classmethod
    def _made_of(
        cls, trace: Trace, threshold: float, chosen: Tensor, enters: Tensor, hidden: Tensor, cell: Tensor | None
    ) -> Influence:
        norms = [hidden] if cell is None else [hidden, cell]
        furthest = (~norms[0].isnan()).sum(0).to(norms[0].dtype) - 1
        unknown = ~_is_followed(trace, chosen, enters, furthest)
        norms = [one.masked_fill(unknown, 0.0) for one in norms]
        horizons = joint_horizon(norms[0], norms[1] if norms[1:] else None, threshold)
        half_lives = reduce(torch.fmax, half_life(torch.stack(norms, dim=1)))
        seen = ~horizons.isnan()
        curves = [one.flatten(1) for one in norms]
        valid = [~one.isnan() & (one[:1] > 0) for one in curves]
        relative = [one / one[:1] for one in curves]
        profiles = [Profile.of(*one) for one in zip(relative, valid, strict=True)]
        return cls(
            threshold,
            profile=profiles[0],
            cell_profile=profiles[1] if profiles[1:] else None,
            bands=Bands.of(relative[0], valid[0]),
            horizons=horizons[seen],
            half_lives=half_lives[seen],
            furthest=furthest[seen],
        )

    @cached_property
    def horizon(self) -> float:
        """The memory horizon in steps; NaN without a curve."""
        return middle(self.horizons)

    @property
    def half_life(self) -> float:
        """Steps until half of the influence is left; NaN without a curve."""
        return middle(self.half_lives)

    @cached_property
    def lags_seen(self) -> float:
        """Median over curves of the largest lag that could be seen; 0 without a curve."""
        return middle(self.furthest) if len(self.furthest) else 0.0

    @property
    def share(self) -> float:
        """The horizon over `lags_seen`."""
        return self.horizon / self.lags_seen if self.lags_seen else math.nan

    @property
    def peak(self) -> float:
        """The largest influence on `h` at any lag, relative to lag 0, of the mean over curves."""
        return float(max(_seen(self.profile), default=math.nan))

    @property
    def left(self) -> float:
        """What is left at the largest lag of all, relative to lag 0: the larger of those of `h` and `c`."""
        profiles = [self.profile, *([] if self.cell_profile is None else [self.cell_profile])]
        return max((curve[-1] for one in profiles if (curve := _seen(one))), default=math.nan)

    @property
    def horizon_spread(self) -> list[float]:
        """The horizon, and the 10th and 90th percentile over targets and sequences."""
        return spread_of(self.horizons)

    @property
    def numbers(self) -> dict[str, float]:
        """The statistics by name."""
        return {"steps": self.horizon, "share": self.share, "half_life": self.half_life}

    def __add__(self, other: Influence) -> Influence:
        cells = (self.cell_profile, other.cell_profile)
        return Influence(
            self.threshold,
            self.profile + other.profile,
            None if cells[0] is None or cells[1] is None else cells[0] + cells[1],
            self.bands + other.bands,
            torch.cat((self.horizons, other.horizons)),
            torch.cat((self.half_lives, other.half_lives)),
            torch.cat((self.furthest, other.furthest)),
        )


@dataclass(frozen=True)
class MeasureInfluence(Measure):
    """Asks for `Influence`.

    Attributes:
        targets: From how many steps of each sequence losses are followed back.
        threshold: Share of the influence that counts as reaching; whoever shows this measurement shows it with this.
    """

    targets: int = TARGETS
    threshold: float = THRESHOLD

    needs: ClassVar[Needs] = Needs(gradients=True)

    def prepare(self, trace: Trace) -> None:
        """Let one sweep find the gradients of the loss and of the targets' own losses."""
        spread_lagged_norms(trace, self.targets)

    def pending(self, trace: Trace, units: GradientUnits) -> Pending[Influence]:
        """Ask for the curves of one call."""
        return Influence.pending(trace, self.targets, self.threshold)


def _is_followed(
    trace: Trace,
    targets: Int[Tensor, "target batch"],
    enters: Bool[Tensor, "target batch"],
    furthest: Float[Tensor, "target batch"],
) -> Bool[Tensor, "target batch"]:
    """Return which targets have a loss, beyond rounding, and one that was followed to where its sequence begins."""
    if trace.provenance.state_changed_between_calls:
        enters = enters & (furthest == targets)
    return enters & (not trace.provenance.is_piece)


def _seen(profile: Profile) -> list[float]:
    means: list[float] = profile.mean[profile.count > 0].tolist()
    return means
