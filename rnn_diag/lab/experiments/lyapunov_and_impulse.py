"""Lyapunov exponents and impulse responses of the same networks: each predicted, both measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from rnn_diag.arguments import number, whole
from rnn_diag.diagnostics import impulse_response, lyapunov_exponents, module_trace
from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table, one_thread
from rnn_diag.lab.parts.figures import FAINT, INK, THEORY, LineEnd, figure, label_ends, name_axes, ordered_colours
from rnn_diag.lab.parts.networks import blank_layer, gaussian_matrix, network
from rnn_diag.lab.parts.theory_values import mean_field
from rnn_diag.lab.parts.words import written
from rnn_diag.nn import LSTM
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KICK = 1e-7
"""Small enough that the answer of a chaotic network stays small for as long as it is looked at."""


class Subject(NamedTuple):
    """One network.

    Attributes:
        name: For labels.
        expected: Largest Lyapunov exponent by theory, in nats per step.
        origin: Where the theory is from, in a few symbols.
        tolerance: Of the exponent: what finite time and size explain.
        exponent: What was measured, averaged over sequences.
        response: To a kick, by lag, the mean of logs over sequences.
    """

    name: str
    expected: float
    origin: str
    tolerance: float
    exponent: float
    response: Tensor

    @property
    def rate(self) -> float:
        """Nats per step by which the response grows, after a quarter of what is seen."""
        first = len(self.response) // 4
        return float((self.response[-1] / self.response[first]).log()) / (len(self.response) - 1 - first)


@dataclass(frozen=True)
class LyapunovAndImpulse(Experiment):
    r"""In the long run a kick grows or fades as :math:`e^{λ_1 t}`.

    Attributes:
        radius: Spectral radius of a linear network, nearly, below 1.
        quiet_gain: g of a tanh network with weights of variance g²/N, below 1: it comes to rest at 0.
        chaotic_gain: The same, above 1.
        forget: Where the forget gate of an LSTM stands that writes nothing.
        units: How many in the linear network and in the LSTM.
        many_units: How many in the tanh networks.
        steps: Over which exponents are averaged.
        lags: How long a kick is followed.
        seed: Of weights and of the first inputs.
    """

    title: ClassVar[str] = "Lyapunov exponents and impulse responses"
    question: ClassVar[str] = "Does the largest Lyapunov exponent say how a kick grows or fades?"
    theory: ClassVar[tuple[int, ...]] = (10, 18, 2)

    radius: float = 0.95
    quiet_gain: float = 0.8
    chaotic_gain: float = 3.0
    forget: float = 0.9
    units: int = 12
    many_units: int = 200
    steps: int = 400
    lags: int = 41
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing to measure."""
        for name in ("radius", "quiet_gain", "forget"):
            number(name, getattr(self, name), above=0.0, below=1.0)
        number("chaotic_gain", self.chaotic_gain, above=1.0)
        for name, least in (("units", 2), ("many_units", 2), ("steps", 50), ("lags", 8)):
            whole(name, getattr(self, name), least)
        if self.lags >= self.steps // 2:
            raise ValueError(f"lags={self.lags}; expected fewer than half of steps={self.steps}")

    @one_thread()
    def run(self) -> Outcome:
        """Measure every network twice."""
        linear = gaussian_matrix(self.units, 1.0, self.seed)
        linear *= self.radius / float(torch.linalg.eigvals(linear).abs().max())
        trace = module_trace(network("identity", linear), self._first_input(self.units))
        spectrum = lyapunov_exponents(trace, k=self.units, warmup=self.steps // 4)[0]
        moduli = torch.linalg.eigvals(linear).abs().log().sort(descending=True).values
        subjects = [
            self._subject("linear", trace, float(moduli[0]), "ln ρ", 0.01),
            self._subject("LSTM, forgets", self._forgetting(), math.log(self.forget), "ln f", 0.01),
            self._tanh(self.quiet_gain),
            self._tanh(self.chaotic_gain),
        ]
        checks = [check for subject in subjects for check in _checks(subject)]
        error = float((spectrum - moduli).abs().max())
        checks.append(Check("linear: whole spectrum, largest distance from ln|λ| (nats)", 0.0, error, 0.05))
        figures = {"exponents": _figure(subjects, spectrum, moduli)}
        return Outcome(_conclusion(subjects, error), checks, [_table(subjects)], figures)

    def _tanh(self, gain: float) -> Subject:
        matrix = gaussian_matrix(self.many_units, gain, self.seed)
        trace = module_trace(network("tanh", matrix), self._first_input(self.many_units))
        if gain < 1:
            expected, origin = math.log(float(torch.linalg.eigvals(matrix).abs().max())), "ln ρ: it rests at 0"
            return self._subject(f"tanh, g = {written(gain)}", trace, expected, origin, 0.02)
        expected, origin = math.log(mean_field("tanh", gain, noise=1e-3).gain), "mean field, N → ∞"
        return self._subject(f"tanh, g = {written(gain)}", trace, expected, origin, 0.06)

    def _forgetting(self) -> Trace:
        """Return an LSTM at rest without recurrent weights: without an input nothing is written, and f alone acts."""
        layer = blank_layer(LSTM, 1, self.units)
        bias = layer.get_parameter("bias_ih_l0")
        bias[self.units : 2 * self.units] = math.log(self.forget / (1 - self.forget))
        layer.get_parameter("weight_ih_l0")[2 * self.units : 3 * self.units] = 1.0
        return module_trace(layer, torch.zeros(self.steps, 1, 1, dtype=torch.float64))

    def _first_input(self, units: int) -> Tensor:
        """Return inputs that set three sequences going and then stop."""
        generator = torch.Generator().manual_seed(self.seed + 1)
        inputs = torch.zeros(self.steps, 3, units, dtype=torch.float64)
        inputs[0] = torch.randn(3, units, generator=generator, dtype=torch.float64)
        return inputs

    def _subject(self, name: str, trace: Trace, expected: float, origin: str, tolerance: float) -> Subject:
        exponent = float(lyapunov_exponents(trace, k=1, warmup=self.steps // 4).mean())
        answer = impulse_response(trace, step=self.steps // 4, size=KICK).response[: self.lags]
        return Subject(name, expected, origin, tolerance, exponent, answer.log().mean(1).exp())


def _checks(subject: Subject) -> list[Check]:
    name, tolerance = subject.name, subject.tolerance
    return [
        Check(f"{name}: λ₁ against {subject.origin} (nats per step)", subject.expected, subject.exponent, tolerance),
        Check(f"{name}: growth of a kick against λ₁ (nats per step)", subject.exponent, subject.rate, 0.05),
    ]


def _table(subjects: Sequence[Subject]) -> Table:
    rows = [(one.name, one.origin, one.expected, one.exponent, one.rate) for one in subjects]
    header = ("network", "theory", "λ₁ by theory", "λ₁, measured", "growth of a kick, nats per step")
    return Table("Three ways to the same number", header, rows)


def _conclusion(subjects: Sequence[Subject], error: float) -> str:
    wild, worst = subjects[-1], max(subjects, key=lambda one: abs(one.rate - one.exponent))
    return (
        f"The chaotic network ({wild.name}) has a Lyapunov exponent of {wild.exponent:.3f} nats per step, "
        f"{wild.expected:.3f} by theory, and a kick grows by {wild.rate:.3f}. Over all four networks growth and "
        f"exponent differ by {abs(worst.rate - worst.exponent):.3f} at most ({worst.name}). The exponents of the "
        f"linear network are the logarithms of its eigenvalues to within {error:.2g}."
    )


def _figure(subjects: Sequence[Subject], spectrum: Tensor, moduli: Tensor) -> Figure:
    made, (kicks, exponents) = figure(columns=2, height=3.5, width_ratios=[1.25, 1.0])
    ends = []
    for one, colour in zip(subjects, _colours(subjects), strict=True):
        response = one.response / one.response[0]
        lags = torch.arange(len(response), dtype=torch.float64)
        first = len(response) // 4
        kicks.plot(response, color=colour, linewidth=2.2)
        kicks.plot(lags[first:], response[first] * torch.exp(one.exponent * (lags[first:] - first)), **THEORY)
        ends.append(LineEnd(float(response[-1]), one.name, colour))
    kicks.set_yscale("log")
    ranks = range(1, len(spectrum) + 1)
    exponents.plot(ranks, spectrum, "o", color=ordered_colours(1)[0], markersize=5)
    exponents.plot(ranks, moduli, "_", color=INK, markersize=14)
    exponents.set_xticks([1, *range(4, len(spectrum) + 1, 4)])
    exponents.axhline(0.0, color=FAINT, linewidth=0.8)
    name_axes(kicks, "A kick; dashed: growth at λ₁", "steps after the kick", "response / the first")
    name_axes(exponents, "Linear; dashes: ln|λ|", "rank", "exponent (nats per step)")
    label_ends(kicks, ends)
    return made


def _colours(subjects: Sequence[Subject]) -> list[str]:
    """Return colours in the order of the exponents."""
    order = sorted(subjects, key=lambda one: one.exponent)
    return [ordered_colours(len(subjects))[order.index(one)] for one in subjects]
