"""Experiments with a known outcome, to test what is made of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rnn_diag.lab.experiment import Check, Experiment, Outcome, Table
from rnn_diag.lab.parts.figures import COLOURS, INK, LineEnd, figure, label_ends, name_axes


@dataclass(frozen=True)
class Doubling(Experiment):
    """Twice two."""

    title: ClassVar[str] = "Twice <two>"
    question: ClassVar[str] = "Is 2 & 2 four?"
    theory: ClassVar[tuple[int, ...]] = (3, 2)

    weights: Sequence[float] = (0.5, 1.0)
    measured: float = 4.0

    def run(self) -> Outcome:
        made, (axes,) = figure(height=2.0)
        axes.plot([0, 1], [0, 4], color=COLOURS[0])
        axes.plot([0, 1], [0, 4], color=INK)
        name_axes(axes, "Twice", "x", "y")
        label_ends(axes, [LineEnd(4.0, "four", COLOURS[0]), LineEnd(4.0, "4", COLOURS[1])])
        return Outcome(
            "It is <four>.",
            [Check("2 + 2", 4.0, self.measured, 0.0), Check("never", math.inf, math.inf, 0.0)],
            [Table("Sums & more", ("a|b", "sum"), [("x", 4.0), ("y", math.nan), ("z", None)])],
            {"the_line": made},
            {"a_passage": "<b>bold</b>"},
        )


@dataclass(frozen=True)
class Broken(Experiment):
    """Fails."""

    title: ClassVar[str] = "Broken"
    question: ClassVar[str] = "Does it fail?"
    theory: ClassVar[tuple[int, ...]] = (1,)

    def run(self) -> Outcome:
        raise RuntimeError("the <apparatus>\nbroke")
