"""A linear recurrent unit in training: its eigenvalues move, stay in the unit disc, and say how far gradients reach."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from rnn_diag.arguments import whole
from rnn_diag.capture.recording import record
from rnn_diag.cells import LRUEquations
from rnn_diag.cells.product import complex_of
from rnn_diag.diagnostics import state_jacobian
from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table, one_thread
from rnn_diag.lab.parts.figures import COLOURS, FAINT, GUIDE, THEORY, figure, name_axes
from rnn_diag.nn import Recurrent
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class EigenvaluesInTraining(Experiment):
    r"""A gradient :math:`n` steps before its loss is :math:`\barλ^n ⊙ ∂L/∂h`; :math:`λ = \exp(-e^ν + i e^θ)`.

    Attributes:
        units: Complex units.
        lag: How many steps ago the input came that is to be repeated.
        updates: Of the optimiser.
        seed: Of weights and data.
    """

    title: ClassVar[str] = "Eigenvalues on the unit disc, in training"
    question: ClassVar[str] = "Where do the eigenvalues of a linear recurrent unit go, and how far do gradients reach?"
    theory: ClassVar[tuple[int, ...]] = (19, 4)

    units: int = 16
    lag: int = 12
    updates: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing to measure."""
        for name in ("units", "lag", "updates"):
            whole(name, getattr(self, name), 1)

    def run(self) -> Outcome:
        """Train, and record before and after."""
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            layer, readout = Recurrent(LRUEquations(0.3, 0.9), 1, 2 * self.units), torch.nn.Linear(2 * self.units, 1)
            layer, readout = layer.double(), readout.double()
            before, largest, losses = _eigenvalues(layer), [], []
            optimizer = torch.optim.Adam([*layer.parameters(), *readout.parameters()], lr=0.02)
            for _ in range(self.updates):
                loss = self._loss(layer, readout)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                largest.append(float(_eigenvalues(layer).abs().max()))
            with record(layer) as recording:
                readout(layer(torch.randn(3 * self.lag, 1, 1, dtype=torch.float64))[0][-1]).sum().backward()
        return self._outcome(before, largest, losses, recording["l0"])

    def _loss(self, layer: Recurrent, readout: torch.nn.Linear) -> Tensor:
        inputs = torch.randn(3 * self.lag, 32, 1, dtype=torch.float64)
        error: Tensor = readout(layer(inputs)[0][self.lag :]) - inputs[: -self.lag]
        return error.square().mean()

    def _outcome(self, before: Tensor, largest: list[float], losses: list[float], trace: Trace) -> Outcome:
        after = LRUEquations.eigenvalues(trace.weights.weight_hh)
        measured = trace.hidden_grad[:, 0].norm(dim=-1).flip(0)
        last = complex_of(trace.hidden_grad[-1, 0])
        lags = torch.arange(len(measured), dtype=torch.float64).unsqueeze(1)
        predicted = (after.conj() ** lags * last).abs().square().sum(-1).sqrt()
        error = float(((measured - predicted) / predicted).abs().max())
        stretch = float(torch.linalg.matrix_norm(state_jacobian(trace, 1)[0], 2))
        checks = [
            Check("largest |λ| of all updates", 1.0, max(largest), 0.0, "at most"),
            Check("largest relative distance of a gradient from |λⁿ ∂L/∂h|", 0.0, error, 1e-9),
            Check("largest singular value of a step's Jacobian", float(after.abs().max()), stretch, 1e-9),
        ]
        share = float((predicted[self.lag] / predicted[0]).item())
        first, last_one = float(before.abs().max()), largest[-1]
        said = (
            f"Asked for the input {self.lag} steps ago, the loss falls from {losses[0]:.2f} to {losses[-1]:.2f} in "
            f"{self.updates} updates. The largest |λ| goes from {first:.3f} to {last_one:.3f} and never leaves the "
            f"disc; {share:.2f} of a gradient is left at that lag."
        )
        header = ("update", "loss", "largest |λ|")
        at = sorted({0, self.updates // 4, self.updates // 2, self.updates - 1})
        table = Table("Training", header, [(k + 1, losses[k], largest[k]) for k in at])
        return Outcome(said, checks, [table], {"disc": _figure(before, after, measured, predicted)})


def _eigenvalues(layer: Recurrent) -> Tensor:
    return LRUEquations.eigenvalues(layer.get_parameter("weight_hh_l0").detach())


def _figure(before: Tensor, after: Tensor, measured: Tensor, predicted: Tensor) -> Figure:
    made, (disc, reach) = figure(columns=2, height=3.4)
    turn = torch.linspace(0, 2 * math.pi, 200)
    disc.plot(turn.cos(), turn.sin(), **GUIDE)
    for one, other in zip(before, after, strict=True):
        disc.plot([one.real, other.real], [one.imag, other.imag], color=FAINT, linewidth=0.8)
    disc.plot(after.real, after.imag, "o", color=COLOURS[0], markersize=4)
    disc.set_aspect("equal")
    name_axes(disc, "λ, and where each began", "real part", "imaginary part")
    reach.semilogy(measured, color=COLOURS[0], linewidth=2.2)
    reach.semilogy(predicted, **THEORY)
    name_axes(reach, "Gradient before a loss", "lag n in steps", "‖∂L/∂h‖")
    return made
