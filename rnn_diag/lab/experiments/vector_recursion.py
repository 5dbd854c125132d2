"""Two linear units: eigenvalues tell how a response ends, singular values bound how it begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import torch
from torch import Tensor

from rnn_diag.arguments import numbers, whole
from rnn_diag.diagnostics import (
    ImpulseResponse,
    Spectrum,
    impulse_response,
    jacobian_product_singular_values,
    module_trace,
    recurrent_spectrum,
)
from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table
from rnn_diag.lab.parts.figures import GUIDE, INK, THEORY, LineEnd, figure, label_ends, name_axes, ordered_colours
from rnn_diag.lab.parts.networks import network, one_input
from rnn_diag.lab.parts.words import named
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROUNDING = 1e-8
"""Largest relative error that the arithmetic of doubles explains here."""

TURN = 0.3
"""Radians by which the normal matrix turns the state at every step."""


class Case(NamedTuple):
    """One matrix and what was measured of it.

    Attributes:
        radius: The modulus of both eigenvalues.
        is_normal: Whether it turns and scales only.
        spectrum: Of the matrix.
        answer: To a kick of the second unit.
        trace: Of that kick.
        expected: Length of the response by the closed form.
    """

    radius: float
    is_normal: bool
    spectrum: Spectrum
    answer: ImpulseResponse
    trace: Trace
    expected: Tensor

    @property
    def name(self) -> str:
        """For tables and checks."""
        return f"{'normal' if self.is_normal else 'non-normal'}, {named('ρ', self.radius)}"

    @property
    def response(self) -> Tensor:
        """Length of the state at every step."""
        return self.answer.response[:, 0]


@dataclass(frozen=True)
class VectorRecursion(Experiment):
    r"""The response of :math:`h_t = W h_{t-1} + x_t` to one input is :math:`W^t x_0`.

    Two matrices have both eigenvalues of modulus ρ: the normal one turns and scales, the non-normal one,
    :math:`\begin{pmatrix} ρ & κ \\ 0 & ρ \end{pmatrix}`, feeds its second unit into its first.

    Attributes:
        radii: Values of ρ to try.
        coupling: κ, not 0.
        steps: How long the response is followed.
    """

    title: ClassVar[str] = "Two linear units"
    question: ClassVar[str] = "Do the eigenvalues of the recurrent weights say what becomes of one input?"
    theory: ClassVar[tuple[int, ...]] = (4, 2)

    radii: Sequence[float] = (0.9, 1.0, 1.05)
    coupling: float = 1.0
    steps: int = 60

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing to measure."""
        numbers("radii", self.radii, above=0.0)
        numbers("coupling", self.coupling, without=0.0)
        whole("steps", self.steps, 8)

    def run(self) -> Outcome:
        """Kick every network once and compare with the closed forms."""
        cases = [self._case(radius, normal) for normal in (True, False) for radius in sorted(self.radii)]
        smallest = next(case for case in cases if not case.is_normal)
        norms = _norms_of_powers(smallest.trace)
        checks = [check for case in cases for check in _checks(case, self.coupling)]
        checks += _bounds(smallest, norms, self.coupling)
        figures = {"response": _responses(cases), "bounds": _between_bounds(smallest, norms)}
        return Outcome(_conclusion(cases, norms), checks, [_table(cases)], figures)

    def _case(self, radius: float, normal: bool) -> Case:
        turning = [[math.cos(TURN), -math.sin(TURN)], [math.sin(TURN), math.cos(TURN)]]
        matrix = torch.tensor(turning, dtype=torch.float64) * radius
        lags = torch.arange(self.steps, dtype=torch.float64)
        decay = radius**lags
        expected = decay
        if not normal:
            matrix = torch.tensor([[radius, self.coupling], [0.0, radius]], dtype=torch.float64)
            expected = torch.hypot(lags * self.coupling * decay / radius, decay)
        trace = module_trace(network("identity", matrix), one_input(self.steps, 0.0, features=2))
        answer = impulse_response(trace, direction=torch.tensor([0.0, 1.0]))
        return Case(radius, normal, recurrent_spectrum(matrix), answer, trace, expected)


def _norms_of_powers(trace: Trace) -> Tensor:
    """Return the spectral norm of every power of the recurrent matrix, from the first."""
    return torch.cat(
        [jacobian_product_singular_values(trace, 0, stop).largest for stop in range(1, len(trace.mask) + 1)]
    )


def _power_norm(radius: float, coupling: float, power: int) -> float:
    """Return the closed form of the norm of a power of the non-normal matrix."""
    diagonal, corner = radius**power, power * coupling * radius ** (power - 1)
    return (abs(corner) + math.sqrt(corner**2 + 4 * diagonal**2)) / 2


def _checks(case: Case, coupling: float) -> list[Check]:
    error = float(((case.response - case.expected) / case.expected).abs().max())
    checks = [
        Check(f"{case.name}: largest relative distance from |Wᵗ x₀|", 0.0, error, ROUNDING),
        Check(f"{case.name}: spectral radius", case.radius, case.spectrum.spectral_radius, 1e-6),
        Check(
            f"{case.name}: growth in the first step, against the largest singular value",
            case.spectrum.spectral_norm,
            float(case.response[1] / case.response[0]),
            ROUNDING,
            "at most",
        ),
    ]
    if case.radius < 1:
        norms = [1.0] if case.is_normal else [1.0, *(_power_norm(case.radius, coupling, k) for k in range(1, 257))]
        checks.append(
            Check(f"{case.name}: transient growth, max |Wᵏ|", max(norms), case.spectrum.transient_growth, 1e-6)
        )
    return checks


def _bounds(case: Case, norms: Tensor, coupling: float) -> list[Check]:
    last = len(norms)
    growth = float(norms[-1] / norms[-2])
    expected = _power_norm(case.radius, coupling, last) / _power_norm(case.radius, coupling, last - 1)
    above = float((norms / case.spectrum.spectral_norm ** torch.arange(1, last + 1)).max())
    below = float((norms / case.radius ** torch.arange(1, last + 1)).min())
    return [
        Check(f"{case.name}: growth of |Wᵗ| in step {last}", expected, growth, 1e-6),
        Check(f"{case.name}: largest |Wᵗ| / σ₁ᵗ", 1.0, above, ROUNDING, "at most"),
        Check(f"{case.name}: smallest |Wᵗ| / ρᵗ", 1.0, below, ROUNDING, "at least"),
    ]


def _table(cases: Sequence[Case]) -> Table:
    rows = [
        (
            "normal" if case.is_normal else "non-normal",
            case.spectrum.spectral_radius,
            case.spectrum.spectral_norm,
            case.spectrum.henrici,
            float(case.response.max()),
            int(case.response.argmax()),
            float(case.response[-1]),
            case.answer.verdicts[0],
        )
        for case in cases
    ]
    header = (
        "W",
        "ρ",
        "σ₁",
        "departure from normality",
        "peak",
        "at step",
        f"at step {len(cases[0].response) - 1}",
        "verdict",
    )
    return Table("What becomes of a kick of length 1", header, rows)


def _conclusion(cases: Sequence[Case], norms: Tensor) -> str:
    sentences = []
    stable = [case for case in cases if not case.is_normal and case.radius < 1]
    for case in stable[:1]:
        peak, step = float(case.response.max()), int(case.response.argmax())
        sentences.append(
            f"The non-normal matrix with {named('ρ', case.radius)} first lets the input grow to {peak:.2f} times its "
            f"size, at step {step}, and then forgets it: {float(case.response[-1]):.2g} is left at the end."
        )
    for case in cases:
        if not case.is_normal and case.radius == 1:
            sentences.append(
                f"With {named('ρ', 1.0)} exactly it never stops growing ({float(case.response[-1]):.3g} after "
                f"{len(case.response) - 1} steps), where the normal matrix keeps the length."
            )
    smallest = next(case for case in cases if not case.is_normal)
    sentences.append(
        f"Singular values bound the beginning, with a growth of {float(norms[0]):.2f} in the first step; eigenvalues "
        f"tell the end, with {float(norms[-1] / norms[-2]):.3f} in step {len(norms)} ({named('ρ', smallest.radius)})."
    )
    return " ".join(sentences)


def _responses(cases: Sequence[Case]) -> Figure:
    made, panels = figure(columns=2, height=3.4, sharey=True)
    groups = [[case for case in cases if case.is_normal == normal] for normal in (True, False)]
    colours = ordered_colours(len(groups[0]))
    for axes, group in zip(panels, groups, strict=True):
        for case, colour in zip(group, colours, strict=True):
            axes.plot(case.response, color=colour, linewidth=2.2)
            axes.plot(case.expected, **THEORY)
        axes.set_yscale("log")
    name_axes(panels[0], "Normal", "step t", "|h| at step t, after a kick of 1")
    name_axes(panels[1], "Non-normal", "step t", "")
    for axes, group in zip(panels, groups, strict=True):
        ends = zip(group, colours, strict=True)
        label_ends(axes, [LineEnd(float(case.response[-1]), named("ρ", case.radius), colour) for case, colour in ends])
    return made


def _between_bounds(case: Case, norms: Tensor) -> Figure:
    made, (axes,) = figure(height=3.0)
    powers = torch.arange(1, len(norms) + 1)
    axes.plot(powers, norms, color=ordered_colours(3)[0], linewidth=2.2)
    axes.plot(powers, case.spectrum.spectral_norm**powers, **GUIDE)
    axes.plot(powers, case.radius**powers, **GUIDE)
    axes.set_yscale("log")
    axes.set_ylim(0.3 * case.radius ** len(norms), 30 * float(norms.max()))
    name_axes(axes, f"Between the bounds: non-normal, {named('ρ', case.radius)}", "steps t", "largest growth, |Wᵗ|")
    top = axes.get_ylim()[1]
    crossing = int(min(math.log(top) / math.log(case.spectrum.spectral_norm), len(norms) - 1))
    axes.annotate("σ₁ᵗ", (crossing, top), (6, -14), textcoords="offset points", fontsize=9, color=INK)
    label_ends(
        axes,
        [
            LineEnd(float(norms[-1]), "|Wᵗ|", ordered_colours(3)[0]),
            LineEnd(case.radius ** len(norms), "ρᵗ", INK),
        ],
    )
    return made
