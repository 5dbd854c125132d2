"""The gradient on its way back: what the activations' Jacobians and what the weights multiply it by, apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple, final

import torch
from torch import Tensor

from rnn_diag.arguments import number, some_of, whole
from rnn_diag.cells import AutogradEquations, Equations, Gate, RNNEquations, State, Step, Weights
from rnn_diag.diagnostics import Spectrum, hidden_grad_norms, recurrent_spectrum, state_jacobian
from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table
from rnn_diag.lab.parts.figures import (
    COLOURS,
    FAINT,
    GUIDE,
    THEORY,
    LineEnd,
    figure_of_one_above_two,
    label_ends,
    name_axes,
)
from rnn_diag.lab.parts.networks import gaussian_matrix
from rnn_diag.lab.parts.words import listed
from rnn_diag.trace import OutputGrads, Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST_SLOPE: Final = {"tanh": 1.0, "sigmoid": 0.25, "relu": 1.0, "softmax": 0.5}
"""What an activation's Jacobian multiplies any vector by at most."""

ROUNDING: Final = 1e-9
FAINTEST: Final = 1e-24
"""Smallest gradient that the figure shows, the last one being 1."""


class Journey(NamedTuple):
    """One gradient's way back through an RNN.

    Attributes:
        activation: Of its units.
        norms: Of the gradient at every step back, from the loss.
        slopes: What the activation's Jacobian multiplied it by at each of these steps.
        stretches: What the transposed weights multiplied it by after that.
        jacobian_error: Largest distance of a state Jacobian from the activation's Jacobian times W.
        chain_error: Relative distance of the last gradient from the product of all Jacobians, written out.
    """

    activation: str
    norms: Tensor
    slopes: Tensor
    stretches: Tensor
    jacobian_error: float
    chain_error: float

    @property
    def product(self) -> Tensor:
        """The norms again, from the two factors of every step."""
        return torch.cat([self.norms[:1], self.norms[0] * (self.slopes * self.stretches).cumprod(0)])


@dataclass(frozen=True)
class GradientThroughDepth(Experiment):
    r"""Every step back multiplies the gradient by :math:`W^T φ'(z_t)`: an activation Jacobian, then the weights.

    Attributes:
        activations: Some of tanh, sigmoid, relu, softmax.
        radius: Spectral radius of W, nearly; the largest singular value is about twice that.
        units: How many.
        steps: Length of the sequence; the loss is at its end.
        noise: Standard deviation of every unit's input.
        seed: Of weights, inputs and the loss.
    """

    title: ClassVar[str] = "The gradient through depth"
    question: ClassVar[str] = "What makes a gradient vanish on its way back: the activations or the weights?"
    theory: ClassVar[tuple[int, ...]] = (7, 8, 9)

    activations: Sequence[str] = ("tanh", "relu", "sigmoid", "softmax")
    radius: float = 1.4
    units: int = 48
    steps: int = 31
    noise: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing to measure."""
        some_of("activations", self.activations, list(LARGEST_SLOPE))
        number("radius", self.radius, above=0.0)
        number("noise", self.noise, above=0.0)
        whole("units", self.units, 2)
        whole("steps", self.steps, 4)

    def run(self) -> Outcome:
        """Follow a gradient back through one network per activation, all with the same weights."""
        matrix = gaussian_matrix(self.units, self.radius, self.seed)
        spectrum = recurrent_spectrum(matrix)
        journeys = [_journey(activation, self._trace(activation, matrix)) for activation in self.activations]
        layers = self.steps - 1
        deep_error = chain_against_autograd(self.units, layers, self.radius, self.seed)
        checks = [check for journey in journeys for check in _checks(journey, spectrum)]
        checks.append(
            Check(
                f"deep tanh net of {self.steps - 1} layers: chain written out, distance from autograd",
                0.0,
                deep_error,
                ROUNDING,
            )
        )
        return Outcome(
            _conclusion(journeys, spectrum),
            checks,
            [_table(journeys)],
            {"gradient": _figure(journeys, spectrum)},
        )

    def _trace(self, activation: str, matrix: Tensor) -> Trace:
        generator = torch.Generator().manual_seed(self.seed + 1)
        shape = self.steps, 1, self.units
        inputs = self.noise * torch.randn(shape, generator=generator, dtype=torch.float64)
        at_the_end = torch.zeros(shape, dtype=torch.float64)
        at_the_end[-1] = torch.nn.functional.normalize(
            torch.randn(1, self.units, generator=generator, dtype=torch.float64), dim=-1
        )
        equations: Equations = SoftmaxEquations() if activation == "softmax" else RNNEquations(activation)
        return Trace.of(
            "l0",
            equations,
            Weights(torch.eye(self.units, dtype=torch.float64), matrix),
            inputs,
            State(torch.zeros(1, self.units, dtype=torch.float64)),
            output_grads=OutputGrads(at_the_end, State(None, None)),  # type: ignore[arg-type]
        )


def _journey(activation: str, trace: Trace) -> Journey:
    norms = hidden_grad_norms(trace).flatten().flip(0)
    after = torch.linalg.vector_norm(trace.preactivation_grad["hidden"], dim=-1).flatten().flip(0)
    chained, error = trace.hidden_grad[-1, 0], 0.0
    for t in range(len(trace.mask) - 1, 0, -1):
        jacobian = _activation_jacobian(activation, trace.hidden[t, 0]) @ trace.weights.weight_hh
        error = max(error, float((state_jacobian(trace, t)[0] - jacobian).abs().max()))
        chained = jacobian.T @ chained
    last = trace.hidden_grad[0, 0]
    chain_error = float((chained - last).norm() / last.norm())
    return Journey(activation, norms, after[:-1] / norms[:-1], norms[1:] / after[:-1], error, chain_error)


def _activation_jacobian(activation: str, h: Tensor) -> Tensor:
    """Return the closed form, as a function of the activation's own value."""
    if activation == "softmax":
        return torch.diag(h) - torch.outer(h, h)
    slope = {"tanh": 1 - h * h, "sigmoid": h * (1 - h), "relu": (h > 0).to(h.dtype)}[activation]
    return torch.diag(slope)


def _checks(journey: Journey, spectrum: Spectrum) -> list[Check]:
    name, slopes, stretches = journey.activation, journey.slopes, journey.stretches
    largest, smallest = spectrum.spectral_norm, float(spectrum.singular_values[-1])
    product_error = float((journey.product / journey.norms - 1).abs().max())
    bounds = [
        Check(f"{name}: largest activation factor", LARGEST_SLOPE[name], float(slopes.max()), ROUNDING, "at most"),
        Check(f"{name}: largest weight factor, against σ₁", largest, float(stretches.max()), ROUNDING, "at most"),
        Check(f"{name}: smallest weight factor, against σ_N", smallest, float(stretches.min()), ROUNDING, "at least"),
    ]
    return [
        Check(f"{name}: state Jacobian against φ'(z) W, largest distance", 0.0, journey.jacobian_error, ROUNDING),
        Check(f"{name}: gradient against the product of all Jacobians", 0.0, journey.chain_error, ROUNDING),
        Check(f"{name}: norms against the product of both factors", 0.0, product_error, ROUNDING),
        *bounds,
    ]


def _mean(factors: Tensor) -> float:
    """Return the geometric mean."""
    return math.exp(float(factors.log().mean()))


def _table(journeys: Sequence[Journey]) -> Table:
    rows = [
        (
            journey.activation,
            _mean(journey.slopes),
            LARGEST_SLOPE[journey.activation],
            _mean(journey.stretches),
            _mean(journey.slopes) * _mean(journey.stretches),
            float(journey.norms[-1] / journey.norms[0]),
        )
        for journey in journeys
    ]
    header = (
        "activation", "activation factor per step", "at most", "weight factor per step", "both",
        f"gradient after {len(journeys[0].slopes)} steps back",
    )  # fmt: skip
    return Table("Geometric means over the way back", header, rows)


def _conclusion(journeys: Sequence[Journey], spectrum: Spectrum) -> str:
    steps = len(journeys[0].slopes)
    left = listed([f"{float(journey.norms[-1] / journey.norms[0]):.2g} ({journey.activation})" for journey in journeys])
    slopes = listed([f"{_mean(journey.slopes):.2g} ({journey.activation})" for journey in journeys])
    stretches = [_mean(journey.stretches) for journey in journeys]
    largest = max(float(journey.slopes.max()) for journey in journeys)
    return (
        f"All networks have the same weights; {steps} steps back the gradient has become {left} of what it was. "
        f"The activations make the difference: per step they multiply it by {slopes}, and never by more than "
        f"{largest:.2g}. The weights multiply it by {min(stretches):.2f} to {max(stretches):.2f} on average, between "
        f"their singular values {float(spectrum.singular_values[-1]):.2g} and {spectrum.spectral_norm:.2f}."
    )


def _figure(journeys: Sequence[Journey], spectrum: Spectrum) -> Figure:
    made = figure_of_one_above_two(height=5.4)
    whole, slopes, stretches = made.axes
    steps = torch.arange(len(journeys[0].norms))
    ends, bounds = [], {}
    for journey, colour in zip(journeys, COLOURS, strict=False):
        whole.plot(steps, journey.norms, color=colour, linewidth=2.2)
        whole.plot(steps, journey.product, **THEORY)
        slopes.plot(steps[1:], journey.slopes, color=colour)
        stretches.plot(steps[1:], journey.stretches, color=colour)
        ends.append(LineEnd(float(journey.norms[-1]), journey.activation, colour))
        bounds[LARGEST_SLOPE[journey.activation]] = f"≤ {LARGEST_SLOPE[journey.activation]:g}"
    whole.set_yscale("log")
    whole.set_ylim(bottom=FAINTEST)
    slopes.set_yscale("log")
    slopes.set_ylim(top=2.0)
    stretches.set_ylim(0.0, 1.1 * spectrum.spectral_norm)
    singular = {spectrum.spectral_norm: "σ₁", float(spectrum.singular_values[-1]): "σ_N"}
    for axes, marks in ((slopes, bounds), (stretches, singular)):
        for height in marks:
            axes.axhline(height, **GUIDE)
    name_axes(whole, "Gradient", "steps back from the loss", "|∂L/∂h|")
    name_axes(slopes, "Activation factor of each step", "steps back", "multiplied by")
    name_axes(stretches, "Weight factor of each step", "steps back", "multiplied by")
    label_ends(whole, ends)
    label_ends(slopes, [LineEnd(height, text, FAINT) for height, text in bounds.items()])
    label_ends(stretches, [LineEnd(height, text, FAINT) for height, text in singular.items()])
    return made


def chain_against_autograd(units: int, layers: int, radius: float, seed: int) -> float:
    r"""Return how far the written-out gradient at the input of a deep tanh net is from autograd's, relatively.

    .. math:: \nabla_{f_0} L = W_1^T \nabla f_1 \cdots W_N^T \nabla f_N \cdot \nabla L

    An RNN is the case in which all W are one matrix.

    Args:
        units: Of every layer.
        layers: How many.
        radius: As in `gaussian_matrix`.
        seed: Of the weights, the input and the loss.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = [gaussian_matrix(units, radius, seed + 1 + layer) for layer in range(layers)]
    start, direction = torch.randn(2, units, generator=generator, dtype=torch.float64).unbind()
    first = start.clone().requires_grad_()
    features = [first]
    for weight in weights:
        features.append(torch.tanh(weight @ features[-1]))
    (by_autograd,) = torch.autograd.grad(features[-1] @ direction, first)
    chained = direction
    for weight, feature in zip(reversed(weights), reversed(features[1:]), strict=True):
        chained = weight.T @ ((1 - feature.detach().square()) * chained)
    return float((chained - by_autograd).norm() / by_autograd.norm())


@final
class SoftmaxEquations(AutogradEquations):
    """`h_t = softmax(z_t)`; the activation Jacobian is the full matrix `diag(h) - h h^T`."""

    name: ClassVar[str] = "softmax"
    blocks: tuple[Gate, ...] = (Gate("hidden", 0.0, 1.0),)

    @property
    def gates(self) -> tuple[Gate, ...]:
        """None: nothing is gated."""
        return ()

    def forward_step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        """Return `h = softmax(z)`."""
        z = projected + recurrent
        return Step(torch.softmax(z, dim=-1), None, (), (z,))
