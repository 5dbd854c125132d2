"""When and under which names the saturation of gates is logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch

from rnn_diag.arguments import thresholds
from rnn_diag.callbacks.concern import Patterns, Schedule, WithHistories
from rnn_diag.callbacks.diagnostic import Diagnostic
from rnn_diag.measurements.gates import HIGH, LOW, GateCounts, MeasureGates
from rnn_diag.measurements.history import GatesOverTime
from rnn_diag.measurements.measure import Measure
from rnn_diag.measurements.statistics import Statistic
from rnn_diag.reporting.images.gates import GateShares, gate_map, gates_over_training
from rnn_diag.reporting.tensorboard import Writer
from rnn_diag.tb.kinds import write_gate_units, write_gates
from rnn_diag.tb.schema import bin_starts, bin_widths, mean_in_bins


@final
class GateSaturation(WithHistories, Diagnostic):
    """Logs how often gates are shut and open, how many units are stuck, and how often tanh units are past their slope.

    `<gate>` is a sigmoid gate (`input`, `forget`, `output`; `reset`, `update`), `<tanh>` a tanh block (`candidate`, a
    plain RNN's `hidden`) or `cell`, the tanh through which an LSTM emits its memory. A GRU's open update gate
    remembers.

    Scalars, at every measured step at which the layer was called:

    - `saturation/<layer>/<gate>/left`: share of activations below `low` (shut), over units, valid steps and sequences.
    - `saturation/<layer>/<gate>/right`: share of activations above `high` (open).
    - `saturation/<layer>/<gate>/stuck_shut`: share of units that were shut at 99 % of the valid steps or more.
    - `saturation/<layer>/<gate>/stuck_open`: share of units that were open at 99 % of the valid steps or more.
    - `saturation/<layer>/<tanh>/tanh_saturated`: share of activations beyond `high` in magnitude.

    To TensorBoard:

    - `saturation/<layer>/gates`: picture of the shares over time and over units; layers with gates only.
    - `saturation/<layer>/gates_over_training`: picture of the mean of every gate by training step and timestep; layers
      with gates only.
    - `rnn_diag/<layer>/gates`: for the tab "RNN Diagnostics", the mean of every gate and the shares of units that are
      shut and open, by step; layers with gates only.
    - `rnn_diag/<layer>/gate_units`: for the tab, the same of every unit over steps; layers with gates only.

    Ranks are merged by sums and counts, exactly. Cost: the gates of the chosen sequences once more, one matrix product,
    and some 10 ms for a picture, drawn ever more rarely.

    Args:
        every_n_steps: See `Diagnostic`.
        sequences: See `Diagnostic`.
        layers: See `Diagnostic`.
        max_overhead: See `Diagnostic`.
        low: A gate below it is shut.
        high: A gate above it is open.
        discover: See `Diagnostic`.

    Raises:
        ValueError: Unless `0 <= low < high <= 1`.
    """

    name: ClassVar[str] = "saturation"
    statistics: ClassVar[tuple[Statistic, ...]] = GateCounts.statistics

    def __init__(
        self,
        every_n_steps: int = Schedule.every_n_steps,
        sequences: int | None = Schedule.sequences,
        layers: Patterns = Schedule.layers,
        max_overhead: float | None = Schedule.max_overhead,
        low: float = LOW,
        high: float = HIGH,
        discover: bool = Schedule.discover,
    ) -> None:
        super().__init__(every_n_steps, sequences, layers, max_overhead, discover)
        self.low, self.high = thresholds(low, high)

    @property
    def measure_of(self) -> Measure:
        """What is measured."""
        return MeasureGates(self.low, self.high)

    def keep(self, layer: str, merged: GateCounts, step: int) -> None:
        """Add a column to the heat maps."""
        if merged.gates:
            means = merged.activation.by_step.numpy()
            starts = bin_starts(means.shape[-1])
            column = GatesOverTime(mean_in_bins(means, starts), bin_widths(means.shape[-1], starts))
            self.remember(layer, step, column.stacked)

    def write(self, layer: str, merged: GateCounts, writer: Writer, step: int) -> None:
        """Write what the tab shows."""
        gates, shares = merged.gates, (merged.activation, merged.usual.shut, merged.usual.open)
        if gates:
            by_step = torch.stack([share.by_step for share in shares], dim=1).numpy()
            by_unit = torch.stack([share.by_unit for share in shares], dim=1).numpy()
            write_gates(writer, layer, step, dict(zip(gates, by_step, strict=True)))
            write_gate_units(writer, layer, step, dict(zip(gates, by_unit, strict=True)))

    def draw(self, layer: str, merged: GateCounts) -> Mapping[str, Any]:
        """Return the gate map, and the heat maps."""
        if not merged.gates:
            return {}
        shut, opened = merged.usual.shut, merged.usual.open
        by_gate = zip(
            *(values.numpy() for values in (shut.by_step, opened.by_step, shut.by_unit, opened.by_unit)), strict=True
        )
        shares = {gate: GateShares(*one) for gate, one in zip(merged.gates, by_gate, strict=True)}
        note = f"share of activations below {self.low:g} (shut) and above {self.high:g} (open)"
        history = self.histories[layer]
        columns = [GatesOverTime.of(column) for column in history.columns]
        over_training = gates_over_training(layer, merged.gates, history.steps, columns)
        return {"gates": gate_map(layer, shares, note), "gates_over_training": over_training}
