"""A tanh unit around w = 1: two resting places appear where there was one, and everything slows down in between."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from rnn_diag.arguments import number, whole
from rnn_diag.diagnostics import impulse_response, module_trace
from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table
from rnn_diag.lab.parts.figures import COLOURS, GUIDE, THEORY, figure, name_axes
from rnn_diag.lab.parts.networks import network, one_input
from rnn_diag.lab.parts.theory_values import convergence_rate, fixed_points
from rnn_diag.lab.parts.words import named

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Pitchfork(Experiment):
    r"""Where :math:`h_t = \tanh(w h_{t-1})` comes to rest, for weights on both sides of 1.

    Attributes:
        lowest: Smallest w, above 0.
        highest: Largest w, above 1.
        count: How many weights between them.
        steps: How long each unit is left alone before it is looked at.
    """

    title: ClassVar[str] = "A tanh unit around w = 1"
    question: ClassVar[str] = "Why does tanh like recurrent weights near 1?"
    theory: ClassVar[tuple[int, ...]] = (5, 6)

    lowest: float = 0.4
    highest: float = 1.9
    count: int = 16
    steps: int = 400

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing to measure."""
        number("lowest", self.lowest, above=0.0)
        number("highest", self.highest, above=max(self.lowest, 1.0))
        whole("count", self.count, 4)
        whole("steps", self.steps, 100)

    def run(self) -> Outcome:
        """Let units with every weight come to rest from both sides, then kick each a little."""
        weights = torch.linspace(self.lowest, self.highest, self.count, dtype=torch.float64)
        rests = {sign: _final_states(weights, sign * 0.5, self.steps) for sign in (1.0, -1.0)}
        lives = [_half_life(float(w), self.steps) for w in weights]
        predicted = [_predicted_half_life(float(w)) for w in weights]
        critical = _final_states(torch.ones(1, dtype=torch.float64), 0.5, 5 * self.steps).item()
        checks = [*_rest_checks(weights, rests[1.0], self.steps), *_life_checks(weights, lives, predicted, self.steps)]
        power_law = math.sqrt(3 / (2 * 5 * self.steps))
        checks.append(
            Check(
                f"{named('w', 1.0)}: state after {5 * self.steps} steps over √(3/2t)", 1.0, critical / power_law, 0.02
            )
        )
        rows = [
            (float(w), fixed_points("tanh", float(w))[-1], float(up), theory, measured)
            for w, up, theory, measured in zip(weights, rests[1.0], predicted, lives, strict=True)
        ]
        header = ("w", "upper fixed point", "last state", "half-life of a kick, predicted", "measured (steps)")
        return Outcome(
            _conclusion(weights, rests[1.0], lives, critical, 5 * self.steps),
            checks,
            [Table("Rest and memory by weight", header, rows)],
            {"pitchfork": _figure(weights, rests, lives)},
        )


def _final_states(weights: Tensor, size: float, steps: int) -> Tensor:
    """Return the last state of units that do not see each other, one for each weight."""
    units = network("tanh", torch.diag(weights))
    return module_trace(units, one_input(steps, size, features=len(weights))).hidden[-1, 0]


def _half_life(w: float, steps: int) -> float:
    """Return how long half of a small kick lasts in a unit that has come to rest."""
    trace = module_trace(network("tanh", w), one_input(2 * steps, 0.5))
    return float(impulse_response(trace, step=steps).half_life)


def _predicted_half_life(w: float) -> float:
    rate = convergence_rate("tanh", w, 0.0, fixed_points("tanh", w)[-1])
    return math.inf if rate >= 1 else math.log(2) / -math.log(rate)


def _is_settled(life: float, steps: int) -> bool:
    """Whether so many steps are enough to come to rest."""
    return life < steps / 30


def _rest_checks(weights: Tensor, up: Tensor, steps: int) -> list[Check]:
    return [
        Check(
            f"{named('w', float(w))}: last state against the fixed point",
            fixed_points("tanh", float(w))[-1],
            float(h),
            1e-6,
        )
        for w, h in zip(weights, up, strict=True)
        if _is_settled(_predicted_half_life(float(w)), steps)
    ]


def _life_checks(weights: Tensor, lives: list[float], predicted: list[float], steps: int) -> list[Check]:
    return [
        Check(f"{named('w', float(w))}: half-life of a kick in steps", theory, measured, 0.002 * theory)
        for w, theory, measured in zip(weights, predicted, lives, strict=True)
        if _is_settled(theory, steps)
    ]


def _conclusion(weights: Tensor, up: Tensor, lives: list[float], critical: float, steps: int) -> str:
    below, above = int((weights < 1).sum()) - 1, len(weights) - 1
    best = max(range(len(lives)), key=lambda k: lives[k])
    sentences = []
    if below >= 0:
        sentences.append(
            f"Below 1 the unit forgets and ends at 0 ({abs(float(up[0])):.1g} with {named('w', float(weights[0]))})."
        )
    sentences.append(
        f"Above 1 it settles at {float(up[above]):.3f} ({named('w', float(weights[above]))}) and keeps only the sign "
        f"of what it was told: further kicks last a shorter time the larger w is."
    )
    sentences.append(
        f"Memory is longest in between, with a half-life of {lives[best]:.3g} steps at "
        f"{named('w', float(weights[best]))}; at 1 exactly the state falls only as a power of time, with "
        f"{critical:.4f} left after {steps} steps."
    )
    return " ".join(sentences)


def _figure(weights: Tensor, rests: dict[float, Tensor], lives: list[float]) -> Figure:
    made, (fork, memory) = figure(columns=2, height=3.3)
    for sign, colour in zip((1.0, -1.0), COLOURS, strict=False):
        fork.plot(weights, rests[sign], "o", color=colour, markersize=4)
        name = "from above" if sign > 0 else "from below"
        fork.annotate(name, (float(weights[0]), 0.0), (0, 22 * sign), textcoords="offset points", va="center",
                      fontsize=9, color=colour)  # fmt: skip
    fine = torch.linspace(float(weights[0]), float(weights[-1]), 301).tolist()
    ends = [fixed_points("tanh", w) for w in fine]
    fork.plot(fine, [points[-1] for points in ends], **THEORY)
    fork.plot(fine, [points[0] for points in ends], **THEORY)
    fork.plot([w for w in fine if w > 1], [0.0] * sum(w > 1 for w in fine), **GUIDE)
    memory.plot(weights, lives, "o", color=COLOURS[2], markersize=4)
    memory.plot(fine, [_predicted_half_life(w) for w in fine], **THEORY)
    memory.set_yscale("log")
    memory.set_ylim(0.2, 100.0)
    name_axes(fork, "Where it comes to rest", "recurrent weight w", "last state")
    name_axes(memory, "How long a kick lasts", "recurrent weight w", "half-life in steps")
    return made
