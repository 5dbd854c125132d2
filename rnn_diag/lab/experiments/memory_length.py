"""Networks of many units: how many steps a state is remembered, by activation and spectral radius."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from rnn_diag.arguments import number, numbers, one_of, some_of, whole
from rnn_diag.cells.rnn import NONLINEARITIES
from rnn_diag.diagnostics import half_life, lagged_state_norms, memory_horizon, module_trace, recurrent_spectrum
from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table
from rnn_diag.lab.parts.figures import COLOURS, THEORY, LineEnd, figure, label_ends, name_axes
from rnn_diag.lab.parts.networks import gaussian_matrix, network
from rnn_diag.lab.parts.theory_values import MeanField, mean_field
from rnn_diag.lab.parts.words import listed, named

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FINITE_SIZE = 0.7
"""Largest departure from the theory of infinitely many units, times the root of their number.

Two standard deviations of what is left per step in a ReLU network, half of whose units are silent, give or take some.
"""

SPAN = 8
"""Influence is averaged over so many later states."""

APART = 5
"""Steps from one of them to the next."""


class Memory(NamedTuple):
    """What one network remembers.

    Attributes:
        activation: Of the units.
        radius: The one asked for.
        spectral_radius: The one that the matrix has.
        influence: Of a state on the one so many steps later, 1 at lag 0.
        expected: The mean-field theory.
    """

    activation: str
    radius: float
    spectral_radius: float
    influence: Tensor
    expected: MeanField

    @property
    def half_life(self) -> float:
        """Steps until half of the influence is left."""
        return float(half_life(self.influence))

    @property
    def horizon(self) -> float:
        """Largest lag with a hundredth of the influence left; infinite if to the end."""
        steps = float(memory_horizon(self.influence))
        return math.inf if steps == len(self.influence) - 1 else steps


@dataclass(frozen=True)
class MemoryLength(Experiment):
    r"""How :math:`\lVert \partial h_t / \partial h_{t-τ} \rVert` falls with τ in random networks driven by noise.

    Attributes:
        activations: Some of tanh, relu, sigmoid, identity.
        radii: Values of ρ to try; the spectral radius comes near.
        shown_radius: The one of `radii` whose influence is drawn by lag.
        units: How many.
        probes: Random directions from which the influence is estimated; with as many as units it is exact.
        noise: Standard deviation of every unit's input.
        steps: Length of the sequence.
        seed: Of weights and inputs.
    """

    title: ClassVar[str] = "Memory in steps"
    question: ClassVar[str] = "For how many steps does a network remember, by activation and spectral radius?"
    theory: ClassVar[tuple[int, ...]] = (6,)

    activations: Sequence[str] = ("identity", "tanh", "relu", "sigmoid")
    radii: Sequence[float] = (0.3, 0.5, 0.7, 0.9, 1.0, 1.2)
    shown_radius: float = 0.9
    units: int = 128
    probes: int = 32
    noise: float = 0.3
    steps: int = 110
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing to measure."""
        some_of("activations", self.activations, list(NONLINEARITIES))
        numbers("radii", self.radii, above=0.0)
        one_of("shown_radius", self.shown_radius, self.radii)
        number("noise", self.noise, above=0.0)
        whole("units", self.units, 8)
        whole("probes", self.probes, 1)
        whole("steps", self.steps, 20 + APART * SPAN)

    def run(self) -> Outcome:
        """Measure the influence in every network and compare with the mean-field theory."""
        memories = [
            self._memory(activation, radius) for activation in self.activations for radius in sorted(self.radii)
        ]
        checks = [check for memory in memories for check in _checks(memory, self.units)]
        figures = {"memory": _figure(memories, self.shown_radius, self.noise)}
        return Outcome(_conclusion(memories, self.shown_radius), checks, [_table(memories)], figures)

    def _memory(self, activation: str, radius: float) -> Memory:
        matrix = gaussian_matrix(self.units, radius, self.seed)
        generator = torch.Generator().manual_seed(self.seed + 1)
        inputs = self.noise * torch.randn(self.steps, 1, self.units, generator=generator, dtype=torch.float64)
        trace = module_trace(network(activation, matrix), inputs)
        probes = self.probes if self.probes < self.units else None
        norms = lagged_state_norms(trace, [-1 - APART * k for k in range(SPAN)], probes).squeeze(2)
        influence = norms[: self.steps - APART * SPAN].square().mean(1).sqrt()
        return Memory(
            activation,
            radius,
            recurrent_spectrum(matrix).spectral_radius,
            influence / influence[0],
            mean_field(activation, radius, self.noise),
        )


def _checks(memory: Memory, units: int) -> list[Check]:
    """Compare what is left per step; a network of N units departs from one of infinitely many by some share of 1/√N."""
    name = f"{memory.activation}, {named('ρ', memory.radius)}"
    checks = []
    if math.isfinite(memory.half_life):
        left = 0.5 ** (1 / memory.half_life)
        checks.append(Check(f"{name}: share left per step", memory.expected.gain, left, FINITE_SIZE / math.sqrt(units)))
    if memory.activation == "sigmoid":
        longest = math.log(2) / math.log(4 / memory.radius)
        checks.append(
            Check(f"{name}: half-life, with slopes of at most 1/4", longest, memory.half_life, 0.1 * longest, "at most")
        )
    return checks


def _table(memories: Sequence[Memory]) -> Table:
    rows = [
        (
            memory.activation,
            memory.radius,
            memory.spectral_radius,
            memory.expected.steps_to(0.5),
            memory.half_life,
            memory.expected.steps_to(0.01),
            memory.horizon,
        )
        for memory in memories
    ]
    header = (
        "activation", "ρ asked for", "spectral radius", "half-life, predicted", "measured (steps)",
        "1 % left, predicted", "measured (steps)",
    )  # fmt: skip
    return Table("Memory by activation and spectral radius", header, rows)


def _conclusion(memories: Sequence[Memory], radius: float) -> str:
    shown = [memory for memory in memories if memory.radius == radius]
    lives = listed([f"{memory.half_life:.1f} ({_plain(memory.activation)})" for memory in shown])
    horizons = listed([f"{memory.horizon:.0f} ({_plain(memory.activation)})" for memory in shown])
    growing = [
        f"the {_plain(memory.activation)} network with {named('ρ', memory.radius)}"
        for memory in memories
        if math.isinf(memory.half_life)
    ]
    sentences = [
        f"With the same matrix ({named('ρ', radius)}) half of a state's influence is left after {lives} steps, and a "
        f"hundredth after {horizons} steps."
    ]
    if growing:
        sentences.append(f"It does not fall to half within {len(shown[0].influence)} steps in {listed(growing)}.")
    return " ".join(sentences)


def _plain(activation: str) -> str:
    return "linear" if activation == "identity" else activation


def _figure(memories: Sequence[Memory], radius: float, noise: float) -> Figure:
    made, (by_lag, by_radius) = figure(columns=2, height=3.5)
    activations = list(dict.fromkeys(memory.activation for memory in memories))
    radii = sorted({memory.radius for memory in memories})
    fine = [radii[0] + (radii[-1] - radii[0]) * k / 60 for k in range(61)]
    ends = []
    for activation, colour in zip(activations, COLOURS, strict=False):
        own = [memory for memory in memories if memory.activation == activation]
        shown = next(memory for memory in own if memory.radius == radius)
        lags = torch.arange(len(shown.influence))
        by_lag.plot(lags, shown.influence, color=colour, linewidth=2.2)
        by_lag.plot(lags, shown.expected.gain**lags, **THEORY)
        lives = [memory.half_life for memory in own]
        by_radius.plot([memory.radius for memory in own], lives, "o", color=colour, markersize=4.5)
        by_radius.plot(fine, [mean_field(activation, r, noise).steps_to(0.5) for r in fine], **THEORY)
        last = max((memory for memory in own if math.isfinite(memory.half_life)), key=lambda memory: memory.radius)
        ends.append(LineEnd(last.half_life, _plain(activation), colour))
    for axes in (by_lag, by_radius):
        axes.set_yscale("log")
    by_lag.set_ylim(1e-3, 1.5)
    by_lag.set_xlim(-1, 45)
    by_radius.set_ylim(0.2, 50)
    name_axes(by_lag, f"Influence by lag, {named('ρ', radius)}", "lag τ in steps", "|∂h(t)/∂h(t−τ)|, 1 at lag 0")
    name_axes(by_radius, "Half-life by spectral radius", "ρ", "half-life in steps")
    label_ends(by_radius, ends)
    return made
