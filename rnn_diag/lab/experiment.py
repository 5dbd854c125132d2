"""What an experiment is: a question about the theory, settings, and an outcome of numbers, checks and pictures."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Relation = Literal["equal", "at most", "at least"]
"""How a measured number is to stand to the predicted one."""


@dataclass(frozen=True)
class Check:
    """What the theory predicts beside what was measured.

    Attributes:
        what: Which number, in words, with its unit.
        predicted: The closed form, or the bound that the theory gives.
        measured: What the package's instruments found.
        tolerance: Largest difference that still counts as agreement, in the number's own unit.
        relation: Whether the prediction is a value or a bound.
    """

    what: str
    predicted: float
    measured: float
    tolerance: float
    relation: Relation = "equal"

    @property
    def holds(self) -> bool:
        """Whether measurement and theory agree; never where either is NaN.

        Example:
            >>> Check("half-life in steps", 6.58, 6.60, tolerance=0.1).holds
            True
            >>> Check("largest singular value", 1.0, 1.2, tolerance=0.0, relation="at most").holds
            False
        """
        if self.predicted == self.measured:
            return True
        excess = self.measured - self.predicted
        if self.relation == "at most":
            return excess <= self.tolerance
        if self.relation == "at least":
            return -excess <= self.tolerance
        return math.isfinite(excess) and abs(excess) <= self.tolerance


@dataclass(frozen=True)
class Table:
    """Rows of numbers.

    Attributes:
        title: What the rows are.
        header: One name per column, with the unit in it.
        rows: Numbers as numbers, words as words; None where there is nothing to say.
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[Sequence[float | int | str | bool | None]]

    def __post_init__(self) -> None:
        """Refuse rows that do not fit the header."""
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"table {self.title!r}: row {tuple(row)!r}; expected {len(self.header)} values")


@dataclass(frozen=True)
class Outcome:
    """What came out of an experiment.

    Attributes:
        conclusion: One to three sentences, built from the measured numbers.
        checks: Theory against measurement.
        tables: The numbers.
        figures: Pictures by name; the name becomes a file's.
        passages: Coloured text by name, as fragments of HTML that is escaped already. A figure of the same name is the
            same text as a picture, for TensorBoard; the page shows the passage alone.
    """

    conclusion: str
    checks: Sequence[Check]
    tables: Sequence[Table] = ()
    figures: dict[str, Figure] = field(default_factory=dict)
    passages: dict[str, str] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether every check does."""
        return all(check.holds for check in self.checks)


@dataclass(frozen=True)
class Experiment(ABC):
    """A question about the theory with the means to answer it.

    A subclass is a frozen dataclass: its fields are the settings, checked in `__post_init__`. It lives in a file of its
    own in `rnn_diag/lab/experiments/`, whose name is its word on the command line.

    Attributes:
        title: A heading.
        question: What is asked, in one sentence.
        theory: Rows of docs/theory.md, the main one first; the report is sorted by it.
    """

    title: ClassVar[str]
    question: ClassVar[str]
    theory: ClassVar[tuple[int, ...]]

    @abstractmethod
    def run(self) -> Outcome:
        """Return what was found: the same for the same settings, without moving the process's random generator."""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by name."""
        return {setting.name: getattr(self, setting.name) for setting in fields(self)}


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread inside the block: the same sums in the same order, however many cores there are.

    Example:
        >>> with one_thread():
        ...     torch.get_num_threads()
        1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
