"""Bounded input, bounded state: which single units keep that promise, and at what price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from rnn_diag.arguments import numbers, whole
from rnn_diag.diagnostics import ImpulseResponse, impulse_response, module_trace, tanh_saturation
from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table
from rnn_diag.lab.parts.figures import THEORY, LineEnd, figure, label_ends, name_axes, ordered_colours
from rnn_diag.lab.parts.networks import network, one_input
from rnn_diag.lab.parts.theory_values import fixed_points
from rnn_diag.lab.parts.words import named
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Unit(NamedTuple):
    """One unit and what it did.

    Attributes:
        nonlinearity: Of the unit.
        weight: Recurrent.
        kicked: Its answer to one small input.
        driven: What it goes through when the input is 1 at every step.
        expected: State under that input, by the closed form; only the last one for tanh.
    """

    nonlinearity: str
    weight: float
    kicked: ImpulseResponse
    driven: Trace
    expected: Tensor

    @property
    def name(self) -> str:
        """For labels."""
        return f"{'linear' if self.nonlinearity == 'identity' else self.nonlinearity}, {named('w', self.weight)}"

    @property
    def hidden(self) -> Tensor:
        """The driven state at every step."""
        return self.driven.hidden.flatten()


@dataclass(frozen=True)
class BoundedInputs(Experiment):
    r"""Under an input of 1 at every step :math:`h_t = φ(w h_{t-1} + 1)` stays bounded, or does not.

    Attributes:
        weights: Positive values of w to try with a linear, a ReLU and a tanh unit.
        steps: How long the input lasts.
    """

    title: ClassVar[str] = "Bounded inputs"
    question: ClassVar[str] = "Does a bounded input keep the state bounded, and is that enough?"
    theory: ClassVar[tuple[int, ...]] = (1,)

    weights: Sequence[float] = (0.9, 1.0, 1.03)
    steps: int = 80

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing to measure."""
        numbers("weights", self.weights, above=0.0)
        whole("steps", self.steps, 8)

    def run(self) -> Outcome:
        """Drive each unit with a constant input, kick it once, and compare with the closed forms."""
        units = [
            _driven(nonlinearity, w, self.steps)
            for nonlinearity in ("identity", "relu", "tanh")
            for w in sorted(self.weights)
        ]
        return Outcome(_conclusion(units), _checks(units), [_table(units)], {"constant_input": _figure(units)})


def _driven(nonlinearity: str, w: float, steps: int) -> Unit:
    unit = network(nonlinearity, w)
    kicked = impulse_response(module_trace(unit, one_input(steps, 0.0)))
    driven = module_trace(unit, torch.ones(steps, 1, 1, dtype=torch.float64))
    if nonlinearity == "tanh":
        return Unit(
            nonlinearity, w, kicked, driven, torch.tensor(fixed_points("tanh", w, bias=1.0)[-1:], dtype=torch.float64)
        )
    powers = torch.tensor(w, dtype=torch.float64) ** torch.arange(steps)
    return Unit(nonlinearity, w, kicked, driven, powers.cumsum(0))


def _checks(units: Sequence[Unit]) -> list[Check]:
    checks = []
    for unit in units:
        last, expected = float(unit.hidden[-1]), float(unit.expected[-1])
        what = "fixed point" if unit.nonlinearity == "tanh" else "sum of wᵗ"
        checks.append(Check(f"{unit.name}: last state against {what}", expected, last, 1e-6 * expected))
        if unit.nonlinearity == "tanh":
            largest = float(unit.hidden.abs().max())
            checks.append(Check(f"{unit.name}: largest |h|", 1.0, largest, 0.0, "at most"))
        elif unit.nonlinearity == "identity":
            peak = float(unit.kicked.peak)
            bound = max(1.0, unit.weight ** (len(unit.hidden) - 1))
            checks.append(Check(f"{unit.name}: peak of the impulse response", bound, peak, 1e-6 * bound))
    return checks


def _table(units: Sequence[Unit]) -> Table:
    rows = [
        (
            "linear" if unit.nonlinearity == "identity" else unit.nonlinearity,
            unit.weight,
            unit.kicked.verdicts[0],
            float(unit.kicked.peak),
            float(unit.hidden[-1]),
            float(tanh_saturation(unit.driven).mean) if unit.nonlinearity == "tanh" else None,
        )
        for unit in units
    ]
    header = ("unit", "w", "small kick: verdict", "peak per unit of kick", "input of 1: last state", "share saturated")
    return Table("One kick, and an input that lasts", header, rows)


def _conclusion(units: Sequence[Unit]) -> str:
    steps = len(units[0].hidden)
    sentences = []
    for unit in units:
        if unit.nonlinearity == "identity" and unit.kicked.verdicts[0] == "integrator":
            sentences.append(
                f"The integrator ({unit.name}) answers one kick with {float(unit.kicked.peak):.3g} at most and still "
                f"reaches {float(unit.hidden[-1]):.4g} under an input of 1 that lasts {steps} steps."
            )
    bounded = [unit for unit in units if unit.nonlinearity == "tanh"]
    largest = max(float(unit.hidden.abs().max()) for unit in bounded)
    lowest = min(float(unit.hidden[-1]) for unit in bounded)
    sentences.append(
        f"The tanh units never exceed {largest:.3f}, and all end at {lowest:.3f} or more: bounded, and saturated."
    )
    return " ".join(sentences)


def _figure(units: Sequence[Unit]) -> Figure:
    made, panels = figure(columns=2, height=3.3)
    kinds = (("identity", "Linear units: Σ wᵗ"), ("tanh", "tanh units: to a fixed point"))
    for axes, (nonlinearity, title) in zip(panels, kinds, strict=True):
        shown = [unit for unit in units if unit.nonlinearity == nonlinearity]
        ends = []
        for unit, colour in zip(shown, ordered_colours(len(shown)), strict=True):
            axes.plot(unit.hidden, color=colour, linewidth=2.2)
            if len(unit.expected) > 1:
                axes.plot(unit.expected, **THEORY)
            else:
                axes.axhline(float(unit.expected), **THEORY)
            ends.append(LineEnd(float(unit.hidden[-1]), named("w", unit.weight), colour))
        if nonlinearity == "tanh":
            axes.set_ylim(0.0, 1.05)
        name_axes(axes, title, "step t", "h under an input of 1")
        label_ends(axes, ends)
    return made
