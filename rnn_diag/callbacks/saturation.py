"""When and under which names the saturation of gates is logged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor

from rnn_diag import diagnostics
from rnn_diag.callbacks.diagnostic import Diagnostic
from rnn_diag.diagnostics import Share, UnitState, gate_saturation, tanh_saturation, unit_states
from rnn_diag.diagnostics.numerics.precision import in_double
from rnn_diag.measurements.gradients import GradientUnits
from rnn_diag.measurements.history import History
from rnn_diag.reporting.gate_history import gates_over_training
from rnn_diag.reporting.gates import GateShares, gate_map
from rnn_diag.reporting.tensorboard import Writer
from rnn_diag.tb.schema import bin_starts, bin_widths, mean_in_bins
from rnn_diag.tb.writer import write_gate_units, write_gates
from rnn_diag.trace import Trace


@final
class GateSaturation(Diagnostic):
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
    and some 20 ms for a picture, drawn ever more rarely.

    Args:
        every_n_steps: See `Diagnostic`.
        sequences: See `Diagnostic`.
        layers: See `Diagnostic`.
        max_overhead: See `Diagnostic`.
        low: A gate below it is shut.
        high: A gate above it is open.

    Raises:
        ValueError: Unless `0 <= low < high <= 1`.
    """

    name: ClassVar[str] = "saturation"

    def __init__(
        self,
        every_n_steps: int = 50,
        sequences: int | None = 8,
        layers: str | list[str] | tuple[str, ...] = "*",
        max_overhead: float | None = 0.02,
        low: float = 0.1,
        high: float = 0.9,
    ) -> None:
        super().__init__(every_n_steps, sequences, layers, max_overhead)
        if not 0 <= low < high <= 1:
            raise ValueError(f"thresholds low={low}, high={high}; expected 0 <= low < high <= 1")
        self.low = low
        self.high = high
        self.forget()

    def forget(self) -> None:
        """Drop the columns of earlier fits."""
        self._histories: dict[str, History] = {}

    @property
    def history(self) -> dict[str, Any]:
        """The columns of the heat maps."""
        return {layer: history.state for layer, history in self._histories.items()}

    def resume(self, history: dict[str, Any]) -> None:
        """Add columns to those of another run."""
        self._histories = {layer: History.of(state) for layer, state in history.items()}

    def measure(self, trace: Trace, units: GradientUnits) -> SaturationCounts:
        """Return the counts of one call."""
        gates = gate_saturation(trace, self.low, self.high)
        sigmoid = {name: in_double(trace.gates[name]) for name in gates.gates}
        activation = Share.of(trace, sigmoid) if sigmoid else gates.shut
        parts = (gates.shut, gates.open, tanh_saturation(trace, self.high), activation)
        return SaturationCounts(*map(_on_cpu, parts))

    def scalars(self, layer: str, merged: SaturationCounts) -> Mapping[str, float]:
        """Return the layer's numbers."""
        numbers = {}
        states = unit_states(merged.gates)
        means = zip(merged.shut.blocks, merged.shut.mean.tolist(), merged.open.mean.tolist(), states, strict=True)
        for gate, left, right, unit_state in means:
            numbers[f"{gate}/left"] = left
            numbers[f"{gate}/right"] = right
            numbers[f"{gate}/stuck_shut"] = _share(unit_state == UnitState.STUCK_SHUT)
            numbers[f"{gate}/stuck_open"] = _share(unit_state == UnitState.STUCK_OPEN)
        for block, share in zip(merged.tanh.blocks, merged.tanh.mean.tolist(), strict=True):
            numbers[f"{block}/tanh_saturated"] = share
        return numbers

    def keep(self, layer: str, merged: SaturationCounts, step: int) -> None:
        """Add a column to the heat maps."""
        if merged.shut.blocks:
            means = merged.activation.by_step.numpy()
            starts = bin_starts(means.shape[-1])
            widths = bin_widths(means.shape[-1], starts)[None]
            self._histories.setdefault(layer, History()).add(
                step, np.concatenate([mean_in_bins(means, starts), widths])
            )

    def write(self, layer: str, merged: SaturationCounts, writer: Writer, step: int) -> None:
        """Write what the tab shows."""
        gates, shares = merged.shut.blocks, (merged.activation, merged.shut, merged.open)
        if gates:
            by_step = torch.stack([share.by_step for share in shares], dim=1)
            by_unit = torch.stack([share.by_unit for share in shares], dim=1)
            write_gates(writer, layer, step, dict(zip(gates, by_step, strict=True)))
            write_gate_units(writer, layer, step, dict(zip(gates, by_unit, strict=True)))

    def draw(self, layer: str, merged: SaturationCounts) -> Mapping[str, Any]:
        """Return the gate map, and the heat maps."""
        if not merged.shut.blocks:
            return {}
        by_gate = zip(
            *(
                values.numpy()
                for values in (merged.shut.by_step, merged.open.by_step, merged.shut.by_unit, merged.open.by_unit)
            ),
            strict=True,
        )
        shares = {gate: GateShares(*one) for gate, one in zip(merged.shut.blocks, by_gate, strict=True)}
        note = f"share of activations below {self.low:g} (left-saturated) and above {self.high:g} (right-saturated)"
        history = self._histories[layer]
        over_training = gates_over_training(layer, merged.shut.blocks, history.steps, history.columns)
        return {"gates": gate_map(layer, shares, note), "gates_over_training": over_training}


@dataclass(frozen=True)
class SaturationCounts:
    """How often the units of one or several calls, on one or several ranks, were saturated.

    Attributes:
        shut: Of the sigmoid gates.
        open: Of the sigmoid gates.
        tanh: Of the tanh blocks.
        activation: The share of the way open that the sigmoid gates were: their mean activation.
    """

    shut: Share
    open: Share
    tanh: Share
    activation: Share

    @property
    def gates(self) -> diagnostics.GateSaturation:
        """Of the sigmoid gates alone."""
        return diagnostics.GateSaturation(self.shut, self.open)

    def __add__(self, other: SaturationCounts) -> SaturationCounts:
        return SaturationCounts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def _on_cpu(share: Share) -> Share:
    """Return a share as far as any of the sequences goes: the longest of the batch may not be among them."""
    reached = share.sequences > 0
    by_step = share.step_counts[:, reached].cpu(), share.sequences[reached].cpu()
    return Share(share.blocks, share.unit_counts.cpu(), *by_step)


def _share(holds: Tensor) -> float:
    return holds.to(torch.float64).mean().item()
