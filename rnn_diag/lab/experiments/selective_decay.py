"""A selective state space: inputs decide what is kept, and time constants grow with the lag of a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from rnn_diag.arguments import numbers, whole
from rnn_diag.capture.recording import record
from rnn_diag.cells import SelectiveEquations
from rnn_diag.diagnostics import forget_rate
from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table, one_thread
from rnn_diag.lab.parts.figures import THEORY, figure, name_axes, ordered_colours
from rnn_diag.nn import Recurrent
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure


LEARNED = 0.5
"""Mean squared error below which a number of variance 1 counts as repeated."""


@dataclass(frozen=True)
class SelectiveDecay(Experiment):
    r"""A memory keeps :math:`e^{-Δ a}` at a step, and a gradient on it falls by the product of these.

    Attributes:
        lags: How many distracting steps lie between what is to be remembered and the loss, one training for each.
        units: States.
        updates: Of the optimiser.
        seed: Of weights and data.
    """

    title: ClassVar[str] = "What an input lets a selective state space keep"
    question: ClassVar[str] = "Do the time constants of a selective decay follow the lag of the task?"
    theory: ClassVar[tuple[int, ...]] = (20, 12)

    lags: Sequence[int] = (5, 20, 60)
    units: int = 16
    updates: int = 150
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing to measure."""
        numbers("lags", self.lags, above=0)
        for name in ("units", "updates"):
            whole(name, getattr(self, name), 1)

    def run(self) -> Outcome:
        """Train a layer for each lag, and record what it keeps of the marked input."""
        with one_thread(), torch.random.fork_rng(devices=[]):
            runs = {int(lag): self._trained(int(lag)) for lag in sorted(self.lags)}
        checks, rows, profiles = [], [], {}
        for lag, (loss, trace) in runs.items():
            measured, predicted = _reach(trace)
            checks.append(
                Check(
                    f"lag {lag}: largest relative distance of ∂L/∂c from the product of the shares kept",
                    0.0,
                    float(((measured - predicted).abs() / predicted.amax()).max()),
                    1e-9,
                )
            )
            constants = forget_rate(trace).time_constants
            rows.append((lag, loss, float(constants.max()), float(constants.median())))
            profiles[lag] = measured.norm(dim=-1), predicted.norm(dim=-1)
        header = ("lag (steps)", "loss after training", "longest time constant (steps)", "median time constant (steps)")
        return Outcome(_conclusion(rows), checks, [Table("Time constants", header, rows)], {"reach": _figure(profiles)})

    def _trained(self, lag: int) -> tuple[float, Trace]:
        torch.manual_seed(self.seed)
        layer = Recurrent(SelectiveEquations, 2, self.units).double()
        readout = torch.nn.Linear(self.units, 1).double()
        with torch.no_grad():
            layer.equations.by_block(layer.get_parameter("bias_ih_l0"), 0)["step"].fill_(-2.0)
        optimizer = torch.optim.Adam([*layer.parameters(), *readout.parameters()], lr=0.02)
        for _ in range(self.updates):
            inputs = _marked(lag, 32)
            loss = (readout(layer(inputs)[0][-1]) - inputs[0, :, :1]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with record(layer) as recording:
            _, (_, memory) = layer(_marked(lag, 4))
            memory.sum().backward()
        return loss.item(), recording["l0"]


def _conclusion(rows: list[tuple[int, float, float, float]]) -> str:
    said = [
        f"{'learned' if loss < LEARNED else 'not learned'} at lag {lag}, where the slowest unit forgets after "
        f"{longest:.0f} steps"
        for lag, loss, longest, _ in rows
    ]
    return (
        f"Repeating a marked number is {'; '.join(said)}. What is left of a gradient at the mark is the product of the "
        "shares kept, to rounding."
    )


def _marked(lag: int, batch: int) -> Tensor:
    """Return numbers, of which the first is marked."""
    values = torch.randn(lag + 1, batch, 1, dtype=torch.float64)
    marks = torch.zeros_like(values)
    marks[0] = 1.0
    return torch.cat((values, marks), dim=-1)


def _reach(trace: Trace) -> tuple[Tensor, Tensor]:
    """Return the memory's gradient of the sum of the final memory, and the products of the shares kept; lag first."""
    assert trace.cell_grad is not None
    kept = 1 - trace.gates["step"]
    products = torch.cat((torch.ones_like(kept[:1]), kept[1:].flip(0).cumprod(0)))
    return trace.cell_grad.flip(0)[:, 0], products[:, 0]


def _figure(profiles: dict[int, tuple[Tensor, Tensor]]) -> Figure:
    made, (axes,) = figure(height=3.2)
    for (lag, (measured, predicted)), colour in zip(profiles.items(), ordered_colours(len(profiles)), strict=True):
        axes.semilogy(measured, color=colour, linewidth=2.2, label=f"lag {lag}")
        axes.semilogy(predicted, **THEORY)
    axes.legend(frameon=False, fontsize=9)
    name_axes(axes, "What is left of a gradient on the memory", "steps before the loss", "‖∂L/∂c‖")
    return made
