"""Which layers are looked at, for whom and when, and the table that says so."""

from __future__ import annotations

import glob
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from rnn_diag.callbacks.concern import Schedule
from rnn_diag.callbacks.lightning import say
from rnn_diag.callbacks.session.warnings import NoSuchLayer
from rnn_diag.capture import Recording
from rnn_diag.capture.finding import Finding
from rnn_diag.capture.modules import RecurrentModule, find_layers, type_name
from rnn_diag.capture.patterns import matching
from rnn_diag.coverage import Coverage, Status
from rnn_diag.doctor.parameters import frozen_layers, parameters_of_layers
from rnn_diag.measurements.measure import Measure
from rnn_diag.reporting.coverage_table import Row, print_coverage

Key = str
"""What a measure is called in a session, on every rank alike."""


SEARCHES = 3
"""Measured steps at which modules are looked for that prove to be recurrent."""

SEARCHING = (
    "no recurrent layer is known yet; at the first measured step those are looked for that nobody registered: modules "
    "that are called again and again, each time with what they gave before and something new"
)


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
        is_given_up: Whether all ranks have searched, and none has a layer.

    Raises:
        NoSuchLayer: If a pattern matches no layer.
    """

    def __init__(self, requests: Sequence[Request], model: nn.Module) -> None:
        self._model = model
        self._requests = requests
        self._searches = 0
        self.is_given_up = False
        self._look(not_followed=None)
        self._tried: set[str] = set()
        self._checked: set[str] = set()
        self.measures: dict[Key, Measure] = {}
        self._keys: dict[Measure, Key] = {}
        for request in requests:
            for measure in request.measures:
                self._name(measure, type(measure).__name__ if request.for_judge else request.name)
        self._keys_of = {request: [self._keys[one] for one in request.measures] for request in requests}

    def _look(self, not_followed: list[Coverage] | None) -> None:
        """Find the layers.

        Args:
            not_followed: What is known of the other modules; None where nothing is.
        """
        discovers = any(one.schedule.discover for one in self._requests)
        layers = find_layers(self._model, discover=discovers)
        self._candidates = layers.candidates.keys()
        of_all = [*layers.modules.values()]
        self._equations = {name: one.equations for one in of_all if one.equations is not None for name in one.names}
        unlearning = frozen_layers(parameters_of_layers(self._model))
        frozen = {name for one in of_all if unlearning.issuperset(one.names) for name in one.names}
        self.found = [
            Coverage(
                name, type_name(one.module), Status.NEVER_RAN, "", has_gradients=name not in frozen, found=_how(one)
            )
            for one in of_all
            for name in one.names
        ]
        self.found += layers.not_followed if not_followed is None else not_followed
        told = [name for one in of_all if not isinstance(one.registration, Finding) for name in one.names]
        self.layers: dict[Request, list[str]] = {}
        self._possible: dict[Request, list[str]] = {}
        for request in self._requests:
            names, possible = told, list[str]()
            if request.schedule.discover:
                names, possible = layers.names, [one.name for one in layers.candidates.values()]
            try:
                meant = matching(names, request.schedule.layers, possible)
            except ValueError as error:
                raise NoSuchLayer(str(error)) from None
            self.layers[request] = [name for name in meant if name in names]
            self._possible[request] = [name for name in meant if name not in names]

    @property
    def is_searching(self) -> bool:
        """Whether modules that prove to be recurrent may yet be found."""
        return self._searches < SEARCHES and any(self._possible.values())

    def take_up(self, recording: Recording) -> bool:
        """Look at what a stopped recording found from now on; return whether there is anything new to say."""
        if not self.is_searching:
            return False
        before = [one[:4] for one in self.found if one.layer not in self._candidates or self._searches]
        self._searches += 1
        self._look(recording.not_followed)
        return [one[:4] for one in self.found] != before

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
        return self._keys_of[request]

    def askers(self, key: Key) -> list[Request]:
        """Return the requests that ask for a measure."""
        return [request for request in self.layers if key in self.keys(request)]

    def due(self, step: int, disabled: Collection[Key] = ()) -> list[Request]:
        """Return the requests whose schedule names a step, and that have something left to measure."""
        return [one for one in self.layers if one.schedule.falls_on(step) and self._is_enabled(one, disabled)]

    def enabled(self, disabled: Collection[Key] = ()) -> list[Request]:
        """Return the requests that have something left to measure."""
        return [one for one in self.layers if self._is_enabled(one, disabled)]

    def _is_enabled(self, request: Request, disabled: Collection[Key]) -> bool:
        is_able = bool(self.layers[request]) or self._is_open(request)
        return is_able and any(key not in disabled for key in self.keys(request))

    def _is_open(self, request: Request) -> bool:
        """Return whether a request without a layer may get one, or another rank's has one: all ranks decide alike."""
        return not self.is_given_up and bool(self._possible[request])

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
        if searches := self.is_searching:
            names |= {name for request in due for name in self._possible[request]}
        return Recording(
            self._model,
            sequences,
            sorted(map(glob.escape, names)) or "*",
            check_whole_batch=anew,
            checked=self._checked,
            is_wanted=is_wanted,
            discover=searches or any(one.schedule.discover for one in due),
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
        rows = [row for row in self.rows({}) if self._searches or row.coverage.layer not in self._candidates]
        if rows:
            print_coverage(rows, " ".join(self._terms()))
        elif self.is_searching:
            say(f"rnn_diag: {SEARCHING}")

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
        lost = {one.layer: one for one in self.found if one.status is Status.NOT_FOLLOWED}
        latest = {**seen, **lost}
        return [self._row(latest.get(one.layer, one), one.layer in seen) for one in self.found]

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
        shown = [one for one in self.layers if one.name and not one.for_judge]
        nth = max((one.every_nth for one in shown if any(self._can_measure(one, at) for at in self.found)), default=1)
        spectra = f", spectra at every {nth}th of these" if nth > 1 else ""
        yield f"Measured every {_counted(often)}{rarer}{spectra}; logged as <diagnostic>/<layer>/<statistic>;"
        limits = [limit for one in self.layers if (limit := one.schedule.max_overhead) is not None]
        yield (
            "at all costs."
            if not limits
            else f"at most {100 * min(limits):g}% of the training time (rnn_diag/overhead)."
        )


def _how(found: RecurrentModule) -> str:
    """Return how a layer is followed that nobody registered; empty for others."""
    return found.registration.how if isinstance(found.registration, Finding) else ""


def _counted(steps: int) -> str:
    return "step" if steps == 1 else f"{steps} steps"
