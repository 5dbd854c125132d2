"""When and under which names the gradient over time is logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

import numpy as np

from rnn_diag.callbacks.concern import Patterns, Schedule, WithHistories
from rnn_diag.callbacks.diagnostic import Diagnostic
from rnn_diag.measurements.gradients import GradientSums, MeasureGradients, log10_of
from rnn_diag.measurements.measure import Measure
from rnn_diag.measurements.statistics import Statistic
from rnn_diag.reporting.images.gradients import gradient_heat_map
from rnn_diag.reporting.tensorboard import Writer, write_ridge
from rnn_diag.tb.kinds import write_gradients


@final
class GradientNorms(WithHistories, Diagnostic):
    """Logs how large the loss gradient is at every step of a recurrent layer, and how it changes on its way back.

    Gradients are total ones, in units of the loss as trained: the loss scale of mixed precision and the division by
    accumulated batches are taken out, and ranks count as parts of one batch. Norms are over units, then averaged over
    sequences. Logarithms are to the base 10, and -45 for an exact zero.

    Scalars, at every measured step that has gradients:

    - `gradient_norms/<layer>/log10_first_to_last`: norm at the first step that has a gradient over that at the last;
      below 0: it vanishes.
    - `gradient_norms/<layer>/first_step`: steps read before that first step, a mean over sequences.
    - `gradient_norms/<layer>/last_step`: steps read before that last step, a mean over sequences.
    - `gradient_norms/<layer>/log10_max`: largest norm over steps, in loss per unit of hidden state.
    - `gradient_norms/<layer>/log10_median`: median norm over steps.
    - `gradient_norms/<layer>/slope_nats_per_step`: growth of the logarithm per step back; below 0 it vanishes.
    - `gradient_norms/<layer>/exact_zero`: share of steps and sequences whose norm is 0, that of a memory cell included;
      many mean underflow, dead units or no loss there.
    - `gradient_norms/<layer>/non_finite`: share of steps and sequences whose norm is NaN or infinite.
    - `gradient_norms/<layer>/cell_log10_first_to_last`: the same ratio of the memory cell; LSTMs only.
    - `gradient_norms/<layer>/cell_log10_max`: largest norm of the memory cell's gradient; LSTMs only.
    - `gradient_norms/<layer>/log10_at_cut`: norm at the first step read over the largest; near 0: as much again lies
      before this window, cut off; only in calls with a carried state, that is an initial one that is neither zero nor
      on the graph.
    - `gradient_norms/<layer>/fidelity`: relative error of the self-check; only where something can be checked.
    - `gradient_norms/<layer>/rounding`: what the kernel's rounding (TF32, half precision) makes of the gradient; only
      where a check in double precision could tell it from a mistake.
    - `gradient_norms/<layer>/amp_overflow`: 1 in a step whose gradients overflowed while the loss scale was tried,
      which the optimiser skips: then only this, `exact_zero` and `non_finite` are logged; float16 only.

    To TensorBoard:

    - `gradient_norms/<layer>/log10_norm_plus_8_over_time`: histogram whose buckets are steps, a ridge for each
      measured step.
    - `gradient_norms/<layer>/over_training`: picture of training step by steps before the last one read.
    - `rnn_diag/<layer>/grad`: for the tab "RNN Diagnostics", the logarithm of the norm by step, the last one read on
      the right: median, 10th and 90th percentile over sequences (on each rank and call at most 64).

    Ranks are merged by sums and counts, exactly. Cost: one sweep over the chosen sequences, a tenth of a training step
    for 8 of 128; half a millisecond per layer for the ridge; some 10 ms for a picture, drawn ever more rarely.

    Args:
        every_n_steps: See `Diagnostic`.
        sequences: See `Diagnostic`.
        layers: See `Diagnostic`.
        max_overhead: See `Diagnostic`.
        discover: See `Diagnostic`.
    """

    name: ClassVar[str] = "gradient_norms"
    statistics: ClassVar[tuple[Statistic, ...]] = GradientSums.statistics

    def __init__(
        self,
        every_n_steps: int = Schedule.every_n_steps,
        sequences: int | None = Schedule.sequences,
        layers: Patterns = Schedule.layers,
        max_overhead: float | None = Schedule.max_overhead,
        discover: bool = Schedule.discover,
    ) -> None:
        super().__init__(every_n_steps, sequences, layers, max_overhead, discover)

    @property
    def measure_of(self) -> Measure:
        """What is measured."""
        return MeasureGradients()

    def keep(self, layer: str, merged: GradientSums, step: int) -> None:
        """Add a column to the heat map."""
        by_lag = log10_of(merged.hidden.by_lag.mean)
        has_gradient = by_lag[~np.isneginf(by_lag)]
        reference = has_gradient[0] if len(has_gradient) else 0.0
        self.remember(layer, step, by_lag - reference)

    def write(self, layer: str, merged: GradientSums, writer: Writer, step: int) -> None:
        """Write the ridge, the first step read on the left."""
        profile = log10_of(merged.hidden.by_lag.mean)[::-1]
        write_ridge(writer, f"{self.name}/{layer}/log10_norm_plus_8_over_time", profile, step)
        write_gradients(writer, layer, step, merged.bands.percentiles[:, ::-1], cell=merged.recurrence)

    def draw(self, layer: str, merged: GradientSums) -> Mapping[str, Any]:
        """Return the heat map of the whole training so far."""
        history = self.histories[layer]
        return {"over_training": gradient_heat_map(layer, history.steps, history.columns)}
