"""One unit with a nonlinearity: how fast it saturates, where it comes to rest, and how long a kick then lasts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from torch import Tensor

from rnn_diag.arguments import numbers, whole
from rnn_diag.diagnostics import half_life, impulse_response, module_trace
from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table
from rnn_diag.lab.parts.figures import LineEnd, figure, label_ends, name_axes, ordered_colours
from rnn_diag.lab.parts.networks import network, one_input
from rnn_diag.lab.parts.theory_values import convergence_rate, resting_place
from rnn_diag.lab.parts.words import named

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACTIVATIONS = ("sigmoid", "tanh", "relu")
SETTLED = 0.01
"""Share of the first distance from rest below which a unit counts as settled."""

SHOWN_STEPS = 25


class Course(NamedTuple):
    """What one unit did after an input of 1.

    Attributes:
        activation: Of the unit.
        weight: Recurrent.
        bias: Of the unit.
        hidden: Its state at every step.
        rest: Where it goes, by the fixed-point equation; infinite if it grows without bound.
        half_life: Of a small kick in the middle of the run, in steps; None where the unit grows without bound.
    """

    activation: str
    weight: float
    bias: float
    hidden: Tensor
    rest: float
    half_life: float | None

    @property
    def name(self) -> str:
        """For checks."""
        return f"{self.activation}, {named('w', self.weight)}, {named('b', self.bias)}"

    @property
    def predicted_half_life(self) -> float:
        """The same from the slope at the fixed point."""
        if math.isinf(self.rest):
            return math.inf
        rate = convergence_rate(self.activation, self.weight, self.bias, self.rest)
        return math.inf if rate >= 1 else math.log(2) / -math.log(rate) if rate > 0 else 0.0

    @property
    def settling_steps(self) -> float:
        """Steps until it stays within a hundredth of its first distance from rest; infinite if it does not."""
        if math.isinf(self.rest):
            return math.inf
        far = (self.hidden - self.rest).abs() > SETTLED * abs(float(self.hidden[0]) - self.rest)
        last = int(far.nonzero()[-1]) if far.any() else -1
        return math.inf if last == len(self.hidden) - 1 else float(last + 1)


@dataclass(frozen=True)
class Nonlinearities(Experiment):
    r"""After one input, :math:`h_t = φ(w h_{t-1} + b)` goes to a fixed point, slowly or at once, or grows.

    Attributes:
        weights: Positive values of w to try.
        biases: Values of b to try.
        steps: How long each unit is followed; in the middle it is kicked.
    """

    title: ClassVar[str] = "One unit with a nonlinearity"
    question: ClassVar[str] = "How fast do sigmoid, tanh and ReLU units saturate, and where do they come to rest?"
    theory: ClassVar[tuple[int, ...]] = (5,)

    weights: Sequence[float] = (0.5, 0.9, 1.0, 1.5)
    biases: Sequence[float] = (0.0, 0.5)
    steps: int = 240

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing to measure."""
        numbers("weights", self.weights, above=0.0)
        numbers("biases", self.biases)
        whole("steps", self.steps, 40)

    def run(self) -> Outcome:
        """Follow each unit after one input and compare with its fixed point."""
        courses = [
            _course(activation, w, b, self.steps)
            for activation in ACTIVATIONS
            for b in self.biases
            for w in sorted(self.weights)
        ]
        checks = [check for course in courses for check in _checks(course)]
        return Outcome(_conclusion(courses), checks, [_table(courses)], {"response": _figure(courses)})


def _course(activation: str, w: float, b: float, steps: int) -> Course:
    trace = module_trace(network(activation, w, bias=b), one_input(steps))
    hidden = trace.hidden.flatten()
    kicked = impulse_response(trace, step=steps // 2).response
    rest = resting_place(activation, w, b, float(hidden[0]))
    return Course(activation, w, b, hidden, rest, None if math.isinf(rest) else float(half_life(kicked)))


def _checks(course: Course) -> list[Check]:
    """Compare where the unit has settled; a unit that has not says nothing yet about its rest."""
    predicted = course.predicted_half_life
    if course.half_life is None or math.isinf(course.settling_steps) or not 0 < predicted < len(course.hidden) / 20:
        return []
    last = float(course.hidden[-1])
    return [
        Check(f"{course.name}: last state against the fixed point", course.rest, last, 1e-4),
        Check(f"{course.name}: half-life of a kick in steps", predicted, course.half_life, 0.002 * predicted),
    ]


def _table(courses: Sequence[Course]) -> Table:
    rows = [
        (
            course.activation,
            course.weight,
            course.bias,
            course.rest,
            float(course.hidden[-1]),
            course.settling_steps,
            course.predicted_half_life,
            course.half_life,
        )
        for course in courses
    ]
    header = (
        "activation", "w", "b", "fixed point", "last state", "settled within 1 % after (steps)",
        "half-life of a kick, predicted", "measured (steps)",
    )  # fmt: skip
    return Table("From one input to rest", header, rows)


def _conclusion(courses: Sequence[Course]) -> str:
    by_activation = {name: [course for course in courses if course.activation == name] for name in ACTIVATIONS}
    slowest = max(course.settling_steps for course in by_activation["sigmoid"])
    rests = [float(course.hidden[-1]) for course in by_activation["sigmoid"]]
    sentences = [
        f"Every sigmoid unit is at rest within {slowest:.0f} steps, at a value between {min(rests):.2f} and "
        f"{max(rests):.2f} that depends on w and b alone."
    ]
    longest = {name: max(found, key=lambda c: c.half_life or 0.0) for name, found in by_activation.items()}
    sigmoid, tanh = longest["sigmoid"], longest["tanh"]
    sentences.append(
        f"A kick has then lost half after {sigmoid.half_life:.2g} steps at most in a sigmoid unit, and after "
        f"{tanh.half_life:.3g} in the tanh unit with {named('w', tanh.weight)} and {named('b', tanh.bias)}."
    )
    grown = [course for course in by_activation["relu"] if math.isinf(course.rest)]
    if grown:
        worst = max(grown, key=lambda course: float(course.hidden[-1]))
        sentences.append(
            f"{len(grown)} of {len(by_activation['relu'])} ReLU units never settle; {named('w', worst.weight)}, "
            f"{named('b', worst.bias)} has reached {float(worst.hidden[-1]):.2g}."
        )
    return " ".join(sentences)


def _figure(courses: Sequence[Course]) -> Figure:
    biases = sorted({course.bias for course in courses})
    made, panels = figure(rows=len(biases), columns=3, height=0.5 + 2.2 * len(biases), sharex=True)
    for axes, (b, activation) in zip(panels, [(b, name) for b in biases for name in ACTIVATIONS], strict=True):
        shown = [course for course in courses if course.activation == activation and course.bias == b]
        for course, colour in zip(shown, ordered_colours(len(shown)), strict=True):
            axes.plot(course.hidden[:SHOWN_STEPS], color=colour)
            if math.isfinite(course.rest):
                axes.axhline(course.rest, color=colour, linestyle=(0, (2, 2)), linewidth=0.9)
        axes.set_ylim(*((-0.05, 1.05) if activation != "relu" else (-0.3, 6.3)))
        name_axes(
            axes,
            f"{activation}, {named('b', b)}",
            "step t" if b == biases[-1] else "",
            "h" if activation == ACTIVATIONS[0] else "",
        )
        if activation == ACTIVATIONS[-1]:
            ends = [
                LineEnd(min(float(course.hidden[SHOWN_STEPS - 1]), 6.3), named("w", course.weight), colour)
                for course, colour in zip(shown, ordered_colours(len(shown)), strict=True)
            ]
            label_ends(axes, ends)
    return made
