"""Which diagnostics look at which of a model's recurrent layers, and the table that says so."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from torch import nn

from rnn_diag.capture import Coverage, Recording
from rnn_diag.reporting.coverage_table import Row, print_coverage

if TYPE_CHECKING:
    from rnn_diag.callbacks.diagnostic import Diagnostic


class Plan:
    """The layers that every diagnostic looks at.

    Attributes:
        names: Of the layers, for each diagnostic.

    Raises:
        ValueError: If a diagnostic's pattern matches no layer.
    """

    def __init__(self, diagnostics: Sequence[Diagnostic], model: nn.Module) -> None:
        self._diagnostics = diagnostics
        self._model = model
        everything = Recording(model)
        self._found: list[Coverage] = everything.coverage
        self._known = {name for name in everything.names if everything.has_equations(name)}
        self.names = [Recording(model, layers=diagnostic.layers).names for diagnostic in diagnostics]

    def recording(self, due: Iterable[int]) -> Recording:
        """Return a recording of all that the diagnostics at these places look at."""
        due = list(due)
        wanted = [self._diagnostics[place].sequences for place in due]
        sequences = None if None in wanted else max(number for number in wanted if number is not None)
        names = {name for place in due for name in self.names[place]}
        return Recording(self._model, sequences, sorted(map(glob.escape, names)))

    def announce(self) -> None:
        """Print which layers there are, which diagnostics look at them, how often, and for what share of the time."""
        if self._found:
            print_coverage(self.rows(), " ".join(self._terms()))

    @property
    def nothing_measured(self) -> str:
        """Why nothing can be measured; empty where something can."""
        if any(self.names):
            return ""
        if not self._found:
            return "no recurrent layer was found, so nothing is measured"
        reasons = "; ".join(f"{one.layer or 'the model'} ({one.module_type}): {one.reason}" for one in self._found)
        return f"no recurrent layer can be followed, so nothing is measured: {reasons}"

    def rows(self, seen: Iterable[Coverage] = ()) -> list[Row]:
        """Return the table of layers: as they were seen, or what will be seen of them."""
        now = {coverage.layer: coverage for coverage in seen}
        return [self._row(now.get(coverage.layer, coverage), coverage.layer in now) for coverage in self._found]

    def _row(self, coverage: Coverage, was_due: bool) -> Row:
        at_work = [
            diagnostic.name
            for diagnostic, names in zip(self._diagnostics, self.names, strict=True)
            if coverage.layer in names and (coverage.layer in self._known or not diagnostic.needs_equations)
        ]
        return Row(coverage, tuple(dict.fromkeys(at_work)), expected=was_due)

    def _terms(self) -> Iterable[str]:
        by_interval: dict[int, list[str]] = {}
        for diagnostic in self._diagnostics:
            by_interval.setdefault(diagnostic.every_n_steps, []).append(diagnostic.name)
        often, *rarely = sorted(by_interval)
        rarer = "".join(f", {' and '.join(by_interval[steps])} every {_counted(steps)}" for steps in rarely)
        yield f"Measured every {_counted(often)}{rarer}; logged as <diagnostic>/<layer>/<statistic>;"
        limits = [d.max_overhead for d in self._diagnostics if d.max_overhead is not None]
        yield (
            "at all costs."
            if not limits
            else f"at most {100 * min(limits):g}% of the training time (rnn_diag/overhead)."
        )


def _counted(steps: int) -> str:
    return "step" if steps == 1 else f"{steps} steps"
