"""Which layers are looked at, for whom and when, and the table that says so."""

from __future__ import annotations

import glob
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from rnn_diag.callbacks.concern import Schedule
from rnn_diag.callbacks.session.warnings import NoSuchLayer
from rnn_diag.capture import Recording
from rnn_diag.capture.modules import find_recurrent, type_name
from rnn_diag.capture.patterns import matching
from rnn_diag.coverage import Coverage, Status
from rnn_diag.doctor.parameters import frozen_layers
from rnn_diag.measurements.measure import Measure
from rnn_diag.reporting.coverage_table import Row, print_coverage

Key = str
"""What a measure is called in a session, on every rank alike."""


@dataclass(frozen=True, eq=False)
class Request:
    """What one callback asks to have measured.

    Attributes:
        name: Whose it is; empty to be left out of the table.
        schedule: When, and on which layers.
        measures: What is to be measured.
        for_judge: Whether nobody but the judge needs its measures.
        every_nth: Of the measured steps, at every how manieth its measures of weights are taken.
    """

    name: str
    schedule: Schedule
    measures: tuple[Measure, ...]
    for_judge: bool = False
    every_nth: int = 1


class Plan:
    """The layers and measures of all requests; equal measures are one.

    Args:
        requests: All of them.
        model: Whose layers they are.

    Attributes:
        measures: All that are asked for, each once.
        layers: The layers that each request looks at.
        found: What the model holds.

    Raises:
        NoSuchLayer: If a pattern matches no layer.
    """

    def __init__(self, requests: Sequence[Request], model: nn.Module) -> None:
        self._model = model
        found, unfollowed = find_recurrent(model)
        names = [name for one in found for name in one.names]
        self._equations = {name: one.equations for one in found if one.equations is not None for name in one.names}
        unlearning = frozen_layers(model)
        frozen = {name for one in found if unlearning.issuperset(one.names) for name in one.names}
        self.found = [
            Coverage(name, type_name(one.module), Status.NEVER_RAN, "", has_gradients=name not in frozen)
            for one in found
            for name in one.names
        ]
        self.found += [one.coverage for one in unfollowed]
        try:
            self.layers = {request: matching(names, request.schedule.layers) for request in requests}
        except ValueError as error:
            raise NoSuchLayer(str(error)) from None
        self._tried: set[str] = set()
        self._checked: set[str] = set()
        self.measures: dict[Key, Measure] = {}
        self._keys: dict[Measure, Key] = {}
        for request in requests:
            for measure in request.measures:
                self._name(measure, type(measure).__name__ if request.for_judge else request.name)

    def _name(self, measure: Measure, asked_by: str) -> None:
        if measure not in self._keys:
            same = sum(key.split("#")[0] == asked_by for key in self.measures)
            key = self._keys[measure] = f"{asked_by}#{same + 1}" if same else asked_by
            self.measures[key] = measure

    @property
    def of_weights(self) -> set[Key]:
        """What is measured of weights alone."""
        return {key for key, measure in self.measures.items() if measure.needs.weights_only}

    def every_nth(self, key: Key, due: Iterable[Request]) -> int:
        """Return at every how manieth of the measured steps a measure of weights is wanted."""
        asking = set(due)
        return min((one.every_nth for one in self.askers(key) if one in asking), default=1)

    def key_of(self, measure: Measure) -> Key | None:
        """Return what a measure is called; None if it is not asked for."""
        return self._keys.get(measure)

    def keys(self, request: Request) -> list[Key]:
        """Return what a request's measures are called."""
        return [self._keys[measure] for measure in request.measures]

    def askers(self, key: Key) -> list[Request]:
        """Return the requests that ask for a measure."""
        return [request for request in self.layers if key in self.keys(request)]

    def due(self, step: int, disabled: Collection[Key] = ()) -> list[Request]:
        """Return the requests whose schedule names a step, and that have something left to measure."""
        return [one for one in self.enabled(disabled) if one.schedule.falls_on(step)]

    def enabled(self, disabled: Collection[Key] = ()) -> list[Request]:
        """Return the requests that have something left to measure."""
        able = (request for request, layers in self.layers.items() if layers)
        return [request for request in able if any(key not in disabled for key in self.keys(request))]

    def wanted(self, due: Iterable[Request], disabled: Collection[Key] = ()) -> dict[Key, list[str]]:
        """Return the layers at which each measure is wanted."""
        wanted: dict[Key, dict[str, None]] = {}
        for request in due:
            for key in self.keys(request):
                if key not in disabled:
                    wanted.setdefault(key, {}).update(dict.fromkeys(self.layers[request]))
        return {key: list(layers) for key, layers in wanted.items()}

    def recording(self, due: Iterable[Request], is_wanted: Callable[[], bool] = lambda: True) -> Recording:
        """Return a recording of all that these requests look at; a layer's first one checks it with the whole batch.

        Args:
            due: The requests.
            is_wanted: Asked at every call; where it says no, the recording ends by itself.
        """
        due = list(due)
        wanted = [request.schedule.sequences for request in due]
        sequences = None if None in wanted else max(number for number in wanted if number is not None)
        names = {name for request in due for name in self.layers[request]}
        anew, self._tried = not names <= self._tried, self._tried | names
        patterns = sorted(map(glob.escape, names))
        return Recording(
            self._model, sequences, patterns, check_whole_batch=anew, checked=self._checked, is_wanted=is_wanted
        )

    def judged(self, seen: Mapping[str, Coverage]) -> list[Coverage]:
        """Return how the layers that are judged were captured, and which cannot be followed."""
        requests = [request for request in self.layers if request.for_judge]
        names = {name for request in requests for name in self.layers[request]}
        everything = any(request.schedule.layers == "*" for request in requests)
        lost = [one for one in self.found if one.status is Status.NOT_FOLLOWED and everything]
        return [seen[one.layer] for one in self.found if one.layer in names and one.layer in seen] + lost

    def announce(self) -> None:
        """Print which layers there are, which diagnostics look at them, how often, and for what share of the time."""
        if self.found:
            print_coverage(self.rows({}), " ".join(self._terms()))

    @property
    def nothing_measured(self) -> str:
        """Why nothing can be measured; empty where something can."""
        if any(self.layers.values()):
            return ""
        if not self.found:
            return "no recurrent layer was found, so nothing is measured"
        reasons = "; ".join(f"{one.layer or 'the model'} ({one.module_type}): {one.reason}" for one in self.found)
        return f"no recurrent layer can be followed, so nothing is measured: {reasons}"

    def rows(self, seen: Mapping[str, Coverage]) -> list[Row]:
        """Return the table of layers: as they were seen, or will be."""
        return [self._row(seen.get(coverage.layer, coverage), coverage.layer in seen) for coverage in self.found]

    def _row(self, coverage: Coverage, was_due: bool) -> Row:
        at_work = [request.name for request in self.layers if self._can_measure(request, coverage)]
        return Row(coverage, tuple(dict.fromkeys(filter(None, at_work))), expected=was_due)

    def _can_measure(self, request: Request, coverage: Coverage) -> bool:
        equations = self._equations.get(coverage.layer)
        knows = [
            not one.needs.equations if equations is None else one.has_numbers_of(equations)
            for one in request.measures
            if coverage.has_gradients or not one.needs.gradients
        ]
        return coverage.layer in self.layers[request] and any(knows)

    def _terms(self) -> Iterable[str]:
        by_interval: dict[int, list[str]] = {}
        for request in filter(lambda one: one.name, self.layers):
            by_interval.setdefault(request.schedule.every_n_steps, []).append(request.name)
        often, *rarely = sorted(by_interval)
        rarer = "".join(f", {' and '.join(by_interval[steps])} every {_counted(steps)}" for steps in rarely)
        nth = max((one.every_nth for one in self.layers if one.name and not one.for_judge), default=1)
        spectra = f", spectra at every {nth}th of these" if nth > 1 else ""
        yield f"Measured every {_counted(often)}{rarer}{spectra}; logged as <diagnostic>/<layer>/<statistic>;"
        limits = [limit for one in self.layers if (limit := one.schedule.max_overhead) is not None]
        yield (
            "at all costs."
            if not limits
            else f"at most {100 * min(limits):g}% of the training time (rnn_diag/overhead)."
        )


def _counted(steps: int) -> str:
    return "step" if steps == 1 else f"{steps} steps"
