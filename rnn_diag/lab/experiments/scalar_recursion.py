"""One linear unit: its answer to a single input is a power of its recurrent weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from rnn_diag.arguments import numbers, whole
from rnn_diag.diagnostics import ImpulseResponse, impulse_response, module_trace
from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table
from rnn_diag.lab.parts.figures import GUIDE, THEORY, LineEnd, figure, label_ends, name_axes, ordered_colours
from rnn_diag.lab.parts.networks import network, one_input
from rnn_diag.lab.parts.words import named
from rnn_diag.trace import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROUNDING = 1e-9
"""Largest error that the arithmetic of doubles explains here."""

FAINTEST = 1e-6
"""Smallest share of the input that the figure shows."""


@dataclass(frozen=True)
class ScalarRecursion(Experiment):
    r"""The response of :math:`h_t = w h_{t-1} + c x_t` to one input is :math:`w^t c x_0`.

    Attributes:
        weights: Values of w to try, none of them 0.
        input_weight: c, not 0.
        steps: How long the response is followed.
    """

    title: ClassVar[str] = "One linear unit"
    question: ClassVar[str] = "How long does a linear unit remember one input, for which recurrent weights?"
    theory: ClassVar[tuple[int, ...]] = (3, 2)

    weights: Sequence[float] = (-0.9, 0.5, 0.9, 0.97, 1.0, 1.03)
    input_weight: float = 1.0
    steps: int = 80

    def __post_init__(self) -> None:
        """Refuse settings that leave nothing to measure."""
        numbers("weights", self.weights, without=0.0)
        numbers("input_weight", self.input_weight, without=0.0)
        whole("steps", self.steps, 8)

    def run(self) -> Outcome:
        """Kick each unit once and compare with the power of its weight."""
        signed = {w: _trace(w, self.input_weight, self.steps).hidden.flatten() for w in sorted(self.weights)}
        answers = {w: impulse_response(_trace(w, self.input_weight, self.steps, kick=0.0)) for w in signed}
        return Outcome(
            _conclusion(answers, self.steps),
            _checks(signed, answers, self.input_weight),
            [_table(answers)],
            {"response": _figure(signed, self.input_weight)},
        )


def _trace(w: float, c: float, steps: int, kick: float = 1.0) -> Trace:
    """Return what the unit goes through after one input, from rest."""
    return module_trace(network("identity", w, incoming=c), one_input(steps, kick))


def _power(w: float, c: float, steps: int) -> Tensor:
    return c * torch.tensor(w, dtype=torch.float64) ** torch.arange(steps)


def _half_life(w: float) -> float:
    return math.log(2) / -math.log(abs(w)) if abs(w) < 1 else math.inf


def _checks(signed: dict[float, Tensor], answers: dict[float, ImpulseResponse], c: float) -> list[Check]:
    checks = []
    for w, hidden in signed.items():
        expected = _power(w, c, len(hidden))
        error = float(((hidden - expected) / expected).abs().max())
        checks.append(Check(f"{named('w', w)}: largest relative distance from wᵗ", 0.0, error, ROUNDING))
        if abs(w) <= 0.5 ** (2 / len(hidden)):  # Half of the peak is well within what is seen.
            measured = float(answers[w].half_life)
            checks.append(Check(f"{named('w', w)}: half-life in steps", _half_life(w), measured, 1e-6))
    return checks


def _table(answers: dict[float, ImpulseResponse]) -> Table:
    rows = [
        (w, answer.verdicts[0], float(answer.half_life), _half_life(w), float(answer.response[-1]), float(answer.gain))
        for w, answer in answers.items()
    ]
    header = ("w", "verdict", "half-life, measured (steps)", "ln 2 / −ln |w|", "last response", "sum of the response")
    return Table("What is left of one input", header, rows)


def _conclusion(answers: dict[float, ImpulseResponse], steps: int) -> str:
    by_verdict: dict[str, list[float]] = {}
    for w, answer in answers.items():
        by_verdict.setdefault(answer.verdicts[0], []).append(w)
    sentences = []
    forgetful = by_verdict.get("forgets", [])
    if forgetful:
        longest = max(forgetful, key=lambda w: float(answers[w].half_life))
        sentences.append(
            f"The input is forgotten with {named('w', *forgetful)}; {named('w', longest)} remembers longest and has "
            f"lost half of it after {float(answers[longest].half_life):.1f} steps."
        )
    for w in by_verdict.get("unstable", []):
        response = answers[w].response[:, 0]
        growth = float(response[-1] / response[0])
        sentences.append(f"With {named('w', w)} it has grown {growth:.3g} times after {steps - 1} steps.")
    kept = by_verdict.get("integrator", []) + by_verdict.get("holds", [])
    if kept:
        sentences.append(f"It stays as it is with {named('w', *kept)} alone.")
    return " ".join(sentences)


def _figure(signed: dict[float, Tensor], c: float) -> Figure:
    made, (plain, logarithmic) = figure(columns=2, height=3.4)
    ends = []
    for (w, hidden), colour in zip(signed.items(), ordered_colours(len(signed)), strict=True):
        plain.plot(hidden, color=colour)
        logarithmic.plot(hidden.abs(), color=colour, linewidth=2.2)
        logarithmic.plot(_power(w, c, len(hidden)).abs(), **THEORY)
        ends.append(LineEnd(float(hidden[-1].abs()), named("w", w), colour))
    plain.axhline(0.0, **GUIDE)
    logarithmic.set_yscale("log")
    logarithmic.set_ylim(bottom=FAINTEST * abs(c))
    name_axes(plain, "Response to one input", "step t", "h at step t")
    name_axes(logarithmic, "The same, logarithmic: |w|ᵗ", "step t", "|h| at step t")
    label_ends(logarithmic, ends)
    return made
