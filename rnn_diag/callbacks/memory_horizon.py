"""When and under which names it is logged how far back a single loss still reaches."""

from __future__ import annotations

from typing import ClassVar, final

import torch

from rnn_diag.arguments import number, whole
from rnn_diag.callbacks.concern import Patterns, Schedule
from rnn_diag.callbacks.diagnostic import Diagnostic
from rnn_diag.measurements.influence import TARGETS, THRESHOLD, Influence, MeasureInfluence
from rnn_diag.measurements.measure import Measure
from rnn_diag.measurements.statistics import Statistic
from rnn_diag.reporting.tensorboard import Writer, write_ridge
from rnn_diag.tb.kinds import write_horizon, write_influence


@final
class MemoryHorizon(Diagnostic):
    """Logs how far back the loss of a single step still reaches: the only view that shows vanishing under a dense loss.

    From some later steps of every sequence the gradient of that step's loss alone is followed back. Its norm at every
    lag is taken relative to that at the step itself, and averaged over steps and sequences; steps without a loss of
    their own do not count.

    Scalars, at every measured step that has gradients:

    - `memory_horizon/<layer>/steps`: largest lag at which at least `threshold` of the influence is left, through `h` or
      `c`; the median over targets and sequences.
    - `memory_horizon/<layer>/share`: the same over the median of the largest lags that could be seen; at 1 the horizon
      may be longer.
    - `memory_horizon/<layer>/half_life`: steps until half of the influence is left, a median, too; infinite where it
      never is.

    To TensorBoard:

    - `memory_horizon/<layer>/log10_influence_plus_8_by_lag`: histogram whose buckets are lags, lag 0 on the left, a
      ridge for each measured step.
    - `rnn_diag/<layer>/influence`: for the tab "RNN Diagnostics", its logarithm by lag: median, 10th and 90th
      percentile over sequences and targets.
    - `rnn_diag/<layer>/horizon`: for the tab, the horizon of single sequences and targets: median, 10th and 90th
      percentile.

    Ranks are merged by sums and counts, exactly. Cost: one sweep per target over the chosen sequences, all at once.

    Args:
        every_n_steps: See `Diagnostic`.
        sequences: See `Diagnostic`.
        layers: See `Diagnostic`.
        max_overhead: See `Diagnostic`.
        targets: From how many steps of each sequence it is followed back, from the last one read to the first.
        threshold: Share of the influence that counts as reaching.
        discover: See `Diagnostic`.

    Raises:
        ValueError: If `targets` is not positive or `threshold` is not between 0 and 1.
    """

    name: ClassVar[str] = "memory_horizon"
    statistics: ClassVar[tuple[Statistic, ...]] = Influence.statistics

    def __init__(
        self,
        every_n_steps: int = Schedule.every_n_steps,
        sequences: int | None = Schedule.sequences,
        layers: Patterns = Schedule.layers,
        max_overhead: float | None = Schedule.max_overhead,
        targets: int = TARGETS,
        threshold: float = THRESHOLD,
        discover: bool = Schedule.discover,
    ) -> None:
        super().__init__(every_n_steps, sequences, layers, max_overhead, discover)
        self.targets = whole("targets", targets, at_least=1)
        self.threshold = number("threshold", threshold, above=0, at_most=1)

    @property
    def measure_of(self) -> Measure:
        """What is measured."""
        return MeasureInfluence(self.targets, self.threshold)

    def write(self, layer: str, merged: Influence, writer: Writer, step: int) -> None:
        """Write the ridge, and what the tab shows."""
        influence = torch.log10(merged.profile.mean[merged.profile.count > 0])
        if not len(influence):
            return
        write_ridge(writer, f"{self.name}/{layer}/log10_influence_plus_8_by_lag", influence.numpy(), step)
        write_influence(writer, layer, step, merged.bands.percentiles)
        write_horizon(writer, layer, step, merged.horizon_spread)
