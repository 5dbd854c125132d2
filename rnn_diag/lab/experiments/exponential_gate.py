"""The exponential gate: one input can outweigh all that came before, which a sigmoid gate never lets it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from rnn_diag.arguments import numbers, whole
from rnn_diag.cells import LSTMEquations, SLSTMEquations
from rnn_diag.diagnostics import log_retention, module_trace
from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table
from rnn_diag.lab.parts.figures import COLOURS, THEORY, LineEnd, figure, label_ends, name_axes
from rnn_diag.nn import Recurrent

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ExponentialGate(Experiment):
    r"""A memory :math:`c/n` is a mean with weights :math:`e^{z_i}`: one input takes :math:`e^z / (n + e^z)` of it.

    Attributes:
        preactivations: Of the input gate, at the one step that counts.
        steps: Equal inputs before it, of pre-activation 0.
    """

    title: ClassVar[str] = "How much one input can overwrite"
    question: ClassVar[str] = "What share of an sLSTM's memory does one input take, and what share of an LSTM's?"
    theory: ClassVar[tuple[int, ...]] = (21, 13)

    preactivations: Sequence[float] = (-4.0, -2.0, 0.0, 2.0, 4.0, 8.0)
    steps: int = 20

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing to measure."""
        numbers("preactivations", self.preactivations)
        whole("steps", self.steps, 1)

    def run(self) -> Outcome:
        """Open the gate once after equal inputs, and see what is left of these."""
        points = sorted(self.preactivations)
        left = [_left(z, self.steps) for z in points]
        expected = [self.steps / (self.steps + math.exp(z)) for z in points]
        memory = [_memory_of_lstm(z, self.steps) for z in points]
        checks = [
            Check(f"share left at z = {z:g}", predicted, measured, 1e-9)
            for z, predicted, measured in zip(points, expected, left, strict=True)
        ]
        least = self.steps / (self.steps + 2)  # its gate was half open before, and is open at most
        checks.append(Check("least share of an LSTM's memory that is left", least, min(memory), 1e-9, "at least"))
        header = ("z at the step", "share of an sLSTM's memory left", "n / (n + e^z)", "share of an LSTM's memory left")
        rows = list(zip(points, left, expected, memory, strict=True))
        said = (
            f"After {self.steps} equal inputs, one with z = {points[-1]:g} leaves {left[-1]:.2%} of an sLSTM's memory; "
            f"an LSTM's input gate, a sigmoid, leaves {memory[-1]:.0%} of its own at the same z."
        )
        figures = {"reach": _figure(points, left, expected, memory)}
        return Outcome(said, checks, [Table("What one input leaves", header, rows)], figures)


def _layer(equations: SLSTMEquations | LSTMEquations) -> Recurrent:
    """Return one unit whose input gate's pre-activation is its input; it keeps everything and writes 1."""
    layer = Recurrent(equations, 1, 1).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        equations.by_block(layer.get_parameter("weight_ih_l0"), 0)["input"].fill_(1.0)
        biases = equations.by_block(layer.get_parameter("bias_ih_l0"), 0)
        biases["forget"].fill_(40.0)
        biases["candidate"].fill_(40.0)
    return layer


def _inputs(z: float, steps: int) -> Tensor:
    inputs = torch.zeros(steps + 1, 1, 1, dtype=torch.float64)
    inputs[-1] = z
    return inputs


def _left(z: float, steps: int) -> float:
    """Return the share of the memory of the step before that is left after the last one."""
    return float(log_retention(module_trace(_layer(SLSTMEquations()), _inputs(z, steps)))[-2].exp())


def _memory_of_lstm(z: float, steps: int) -> float:
    """Return the share of an LSTM's memory after the last step that was there before it."""
    trace = module_trace(_layer(LSTMEquations()), _inputs(z, steps))
    assert trace.cell is not None
    return float(trace.cell[-2] / trace.cell[-1])


def _figure(points: list[float], left: list[float], expected: list[float], memory: list[float]) -> Figure:
    made, (axes,) = figure(height=3.2)
    axes.plot(points, left, color=COLOURS[0], linewidth=2.2)
    axes.plot(points, expected, **THEORY)
    axes.plot(points, memory, color=COLOURS[1], linewidth=2.2)
    axes.set_ylim(0, 1.05)
    name_axes(axes, "Share of the memory that one input leaves", "pre-activation of the input gate", "share left")
    label_ends(axes, [LineEnd(left[-1], "sLSTM", COLOURS[0]), LineEnd(memory[-1], "LSTM", COLOURS[1])])
    return made
