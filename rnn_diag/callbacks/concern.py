"""One concern: what is to be measured of a layer, when, and which numbers and pictures it becomes."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rnn_diag.arguments import number, whole
from rnn_diag.capture.patterns import patterns_in
from rnn_diag.measurements.history import History
from rnn_diag.measurements.layer import STATISTICS
from rnn_diag.measurements.measure import Measure
from rnn_diag.measurements.statistics import Statistic

if TYPE_CHECKING:
    from jaxtyping import Float

Patterns = str | list[str] | tuple[str, ...]
"""A glob pattern of layers' names, or several."""


@dataclass(frozen=True)
class Schedule:
    """When to measure, how much of a batch, and on which layers: the arguments that all callbacks share.

    Attributes:
        every_n_steps: Measured are training steps that are multiples of this: a schedule that depends on the step
            alone, so that all ranks measure together.
        sequences: How many sequences of a batch are looked at on each rank; None for all.
        layers: Glob pattern of the layers' names, or several.
        max_overhead: The share of the training time that measuring may take; None for no limit.
        discover: Whether modules are looked for that nobody registered and that prove to be recurrent.

    Raises:
        ValueError: If `every_n_steps` or `sequences` is not positive, or `max_overhead` not between 0 and 1.
        TypeError: If one of these is no number, `layers` neither a pattern nor several, or `discover` no bool.
    """

    every_n_steps: int = 50
    sequences: int | None = 8
    layers: Patterns = "*"
    max_overhead: float | None = 0.02
    discover: bool = True

    def __post_init__(self) -> None:
        patterns_in(self.layers)
        whole("every_n_steps", self.every_n_steps, at_least=1)
        if not isinstance(self.discover, bool):
            raise TypeError(f"discover={self.discover!r}; expected True or False")
        if self.sequences is not None:
            whole("sequences", self.sequences, at_least=1, otherwise="None for all")
        if self.max_overhead is not None:
            number("max_overhead", self.max_overhead, above=0, below=1, otherwise="None for no limit")

    def falls_on(self, step: int) -> bool:
        """Return whether a step is one of those that may be measured."""
        return step % self.every_n_steps == 0


class Concern:
    """One thing that is measured: when, on which layers, and which numbers and pictures it becomes.

    Attributes:
        schedule: When, and on which layers.
    """

    name: ClassVar[str]
    """The first part of every tag."""

    statistics: ClassVar[tuple[Statistic, ...]] = ()
    """The numbers that `scalars` may return: what each is called and says, and in which of TensorBoard's Custom Scalars
    it is shown."""

    schedule: Schedule

    every_nth: int = 1
    """Of its measured steps, at every how manieth weights are looked at, after as many in a row; calls are at all."""

    @property
    def measure_of(self) -> Measure:
        """What is to be measured; concerns whose measures are equal share one measurement."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it measures; expected a Measure")

    def scalars(self, layer: str, merged: Any) -> Mapping[str, float]:
        """Return the numbers of all ranks together by tag, without `<diagnostic>/<layer>/`."""
        numbers: Mapping[str, float] = merged.numbers
        return numbers

    def forget(self) -> None:
        """Drop what earlier fits left."""

    @property
    def history(self) -> dict[str, Any]:
        """What pictures will need of earlier steps, in tensors and plain types."""
        return {}

    def resume(self, history: dict[str, Any]) -> None:
        """Continue the history of another run."""

    def keep(self, layer: str, merged: Any, step: int) -> None:
        """Remember what pictures will need."""

    def as_it_is(self) -> Concern:
        """Return a copy to draw from, which what is remembered from now on does not change."""
        return copy.copy(self)

    def write(self, layer: str, merged: Any, writer: Any, step: int) -> None:
        """Write what TensorBoard gets at every measured step besides scalars; in a thread of its own."""

    def draw(self, layer: str, merged: Any) -> Mapping[str, Any]:
        """Return pictures by tag, without `<diagnostic>/<layer>/`; in a thread of its own, of `as_it_is()`."""
        return {}


def statistics_of(concerns: Iterable[Concern]) -> dict[str, tuple[Statistic, ...]]:
    """Return by the first part of their tags the statistics of this package, and those that concerns declare."""
    return {**STATISTICS, **{one.name: one.statistics for one in concerns if one.statistics}}


class WithHistories:
    """What a concern remembers of every layer for pictures of the whole training, also in checkpoints."""

    histories: Mapping[str, History] = {}

    def forget(self) -> None:
        """Drop the columns of earlier fits."""
        self.histories = {}

    @property
    def history(self) -> dict[str, Any]:
        """The columns of the pictures."""
        return {layer: history.state for layer, history in self.histories.items()}

    def resume(self, history: Mapping[str, Any]) -> None:
        """Add columns to those of another run."""
        self.histories = {layer: History.of(state) for layer, state in history.items()}

    def as_it_is(self) -> Concern:
        """Return a copy with the columns that there are now."""
        now: Any = copy.copy(self)
        now.histories = {layer: copy.copy(history) for layer, history in self.histories.items()}
        return now  # type: ignore[no-any-return]

    def remember(self, layer: str, step: int, column: Float[np.ndarray, "..."]) -> None:
        """Add a column to the pictures of a layer."""
        self.histories = {layer: History(), **self.histories}
        self.histories[layer].add(step, column)
