"""Recurrent modules that nobody registered, found by what they do while a recording runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import nn

from rnn_diag.capture import watching
from rnn_diag.capture.finding import Finding, remember
from rnn_diag.capture.graph import Edge
from rnn_diag.capture.inline import loop_inside
from rnn_diag.capture.modules import Candidate, FoundLayers, RecurrentModule, Unfollowed, is_within
from rnn_diag.capture.returning import INSIDE, Evidence, Sighting, evidence, used, ways_back
from rnn_diag.capture.sequences import in_backward
from rnn_diag.errors import described

CALLS = 3
"""From how many calls in one step on the graph between them is looked at."""

LOOKBACK = 16
"""Calls of a module that are remembered, until something is found out of them."""

NEAR = 8
"""Nodes of the graph between an output and the input as which it returns, of a module that is named, not followed."""

INSIDE_ITSELF = (
    "called again and again, and its state never leaves it (an attribute holds it from call to call); give it the "
    "state and return it, as cell(input, state) -> state, and it is followed"
)


class Log(Protocol):
    """Where calls of followed modules are recorded."""

    calls: dict[str, list[Any]]
    made: dict[str, set[Edge]] | None

    def adopt(self, found: RecurrentModule) -> None:
        """Follow a module from now on."""

    def drop(self, path: str) -> None:
        """Follow it no longer."""

    def after(self, module: nn.Module, ran: Any, known: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Record a call."""


class Scout:
    """What was seen of one module that may be recurrent.

    Attributes:
        candidate: The module.
        sightings: Its calls, until something is found out.
        evidence: What each but the first of them tells.
        depth: Calls of it that are running.
        calls: How many were looked at.
        is_open: Whether something may be found out by another call.
        problem: Why its calls could not be looked at.
    """

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.sightings: list[Sighting] = []
        self.evidence: list[Evidence] = []
        self.depth = self.calls = 0
        self.is_open = True
        self.problem = ""

    def see(self, sighting: Sighting) -> Finding | None:
        """Remember a call; return what is found out by it."""
        self.calls += 1
        self.sightings.append(sighting)
        if len(self.sightings) >= CALLS:
            for index in range(1 + len(self.evidence), len(self.sightings)):
                self.evidence.append(evidence(self.sightings[index], self.sightings[:index]))
            last, new = self.returning, [one.input for one in self.evidence if one.returns and one.input is not None]
            if last is self.evidence[-1] and new:
                return Finding.of(used(last.returns, sighting), new[-1], sighting)
        if len(self.sightings) == LOOKBACK:
            self.close()
        return None

    def close(self) -> None:
        """Look at no further call, and hold none but the last."""
        self.is_open = False
        del self.sightings[:-1]

    @property
    def returning(self) -> Evidence | None:
        """What the last call tells to which something returned, if it did again and again."""
        returning = [one for one in self.evidence if one.returns]
        return returning[-1] if len(returning) >= CALLS - 1 else None


class Discovery:
    """Watches modules of the user's own, and lets those be followed that prove to be recurrent.

    Args:
        layers: What is followed; what is found is added.
        log: Records what is found.

    Attributes:
        rows: What to say, once it was stopped, of modules that are not followed.
        saw_calls: Whether any module was called that may have proved to be recurrent.
    """

    def __init__(self, layers: FoundLayers, log: Log) -> None:
        self._layers = layers
        self._log = log
        self._scouts: dict[nn.Module, Scout] = {}
        self._found: dict[str, Scout] = {}
        self.rows: list[Unfollowed] = []
        self.saw_calls = False

    def start(self) -> None:
        """Begin to watch."""
        self.rows, self.saw_calls = [], False
        self._found = {}
        unknown = [one for path, one in self._layers.candidates.items() if path not in self._layers.modules]
        self._scouts = {one.module: Scout(one) for one in unknown}
        if self._scouts:
            self._log.made = {}
            watching.add(self, map(type, self._scouts))

    def stop(self) -> None:
        """Decide, and hold nothing of the model any longer."""
        if not self._scouts:
            return
        watching.remove(self)
        scouts, self._scouts = self._scouts, {}
        with torch.no_grad():
            for path in self._not_themselves():
                self._log.drop(path)
                self._layers.drop(path)
                del self._found[path]
            for path, scout in self._found.items():
                finding = self._layers.modules[path].registration
                assert isinstance(finding, Finding)
                remember(scout.candidate.module, finding)
            called = {one.candidate.path for one in scouts.values() if one.calls >= CALLS}
            self._layers.forget_guesses(called, everywhere=bool(self._found))
            self.rows = [one.candidate.unfollowed(one.problem) for one in scouts.values() if one.problem]
            self.rows += self._returning_without_input(scouts)
            self.rows += self._written_inline(scouts, [one.path for one in self.rows])
            self.rows += self._named_like_one(scouts, [one.path for one in self.rows])
        self._found = {}
        self._log.made = None

    def wants(self, module: nn.Module) -> bool:
        """Whether something may be found out by a call."""
        scout = self._scouts.get(module)
        if scout is None or not scout.is_open or in_backward():
            return False
        return torch._C._functorch.peek_interpreter_stack() is None

    def replacement(self, module: nn.Module) -> None:
        """Return nothing: the module's own `forward` runs."""

    def before(self, module: nn.Module) -> AbstractContextManager[None]:
        """Count calls that run within each other: those within one are no steps."""
        return _deeper(self._scouts[module])

    def after(
        self, module: nn.Module, ran: Any, known: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """Look at a finished call."""
        scout = self._scouts.get(module)
        if scout is None or scout.depth or not scout.is_open:
            return
        self.saw_calls = True
        with torch.no_grad():
            previous = scout.sightings[-1] if scout.sightings else None
            finding = scout.see(Sighting(module, args, kwargs, result, previous))
        if finding is not None:
            self._follow(scout, finding)

    def failed(self, module: nn.Module, error: Exception) -> None:
        """Leave a module alone whose calls cannot be looked at."""
        if (scout := self._scouts.get(module)) is not None:
            scout.close()
            scout.problem = f"its calls could not be looked at: {described(error)}"

    def _follow(self, scout: Scout, finding: Finding) -> None:
        one = scout.candidate
        found = RecurrentModule(one.path, one.module, None, ("l0",), finding, one.written, one.is_hidden, one.mend)
        self._found[one.path] = scout
        self._layers.adopt(found)
        self._log.adopt(found)
        for seen in scout.sightings:
            if seen.was_overwritten:
                continue
            self._log.after(one.module, None, None, seen.args, seen.kwargs, seen.result)
        scout.close()

    def _not_themselves(self) -> list[str]:
        """Return what was followed and only looks recurrent, as what returns to it is another module's state.

        Of a module within another one, the state is the inner one's where that returns as it is: the outer one only
        hands it on, unless its own outputs depend on what it was given by another way, too. It is the outer one's where
        the inner one's output, such as a gate's, returns changed. Of two others, one is recurrent by itself and the
        other's output leads to its own input through that one alone.
        """
        return [path for path, scout in self._found.items() if self._is_anothers(path, scout)]

    def _is_anothers(self, path: str, scout: Scout) -> bool:
        returns = scout.returning.returns if scout.returning is not None else ()
        unchanged = any(one.is_unchanged for one in returns)
        way = {node for one in returns for node in one.way}
        inner: set[Edge] = set()
        holds = False
        for other in [*self._layers.modules]:
            other_scout = self._found.get(other)
            is_itself = other_scout is None or self._is_unchanged(other_scout)
            if other == path:
                continue
            if is_within(other, path):  # the other one is inside
                if is_itself or not unchanged:
                    holds |= bool(self._log.calls.get(other))
                    inner |= self._made(other)
            elif is_within(path, other):
                if not unchanged and is_itself:
                    return True
            elif not unchanged and is_itself and any(edge[0] in way for edge in self._made(other)):
                return True
        return holds and not self._has_own_way(scout, inner)

    def _made(self, path: str) -> set[Edge]:
        return (self._log.made or {}).get(path, set())

    def _is_unchanged(self, scout: Scout) -> bool:
        return scout.returning is not None and any(one.is_unchanged for one in scout.returning.returns)

    def _has_own_way(self, scout: Scout, inner: set[Edge]) -> bool:
        """Return whether a module's state is made of the one before not only through what modules inside it gave."""
        (last,) = scout.sightings[-1:]
        assert scout.returning is not None
        given = {leaf.edge for one in scout.returning.returns if (leaf := last.given.get(one.argument)) is not None}
        known = {edge for edge in given if edge is not None}
        outputs = (last.gave.get(one.output) for one in scout.returning.returns)
        starts = [leaf.edge for leaf in outputs if leaf is not None and leaf.edge is not None]
        return any(ways_back(start, known, INSIDE, inner.__contains__) for start in starts if start not in inner)

    def _returning_without_input(self, scouts: Mapping[nn.Module, Scout]) -> list[Unfollowed]:
        """Return what to say of modules whose output returns and that are given nothing new."""
        waiting = {
            one.candidate.path: one
            for one in scouts.values()
            if one.returning is not None and one.candidate.path not in self._found
        }
        rows = []
        for path, scout in waiting.items():
            assert scout.returning is not None
            if any(is_within(path, other) for other in [*waiting, *self._layers.modules] if other != path):
                continue  # part of one that is named
            if any(is_within(other, path) for other in self._layers.modules):
                continue
            first = scout.returning.returns[0]
            if not any(True for _ in scout.candidate.module.parameters()) or len(first.way) > NEAR:
                continue  # an activation, or a layer, that several others share
            if not first.is_unchanged and self._passes_another(scout, waiting):
                continue
            reason = f"{first} but no input is new at each call; a recurrence without inputs needs rnn_diag.register"
            rows.append(scout.candidate.unfollowed(reason, hint="register"))
        return rows

    def _passes_another(self, scout: Scout, others: Mapping[str, Scout]) -> bool:
        assert scout.returning is not None
        way = {node for one in scout.returning.returns for node in one.way}
        seen = [other.sightings[-1] for other in others.values() if other is not scout]
        made = [leaf.edge for call in seen for leaf in call.gave.values()]
        made += [edge for edges in (self._log.made or {}).values() for edge in edges]
        return any(edge is not None and edge[0] in way for edge in made)

    def _written_inline(self, scouts: Mapping[nn.Module, Scout], named: list[str]) -> list[Unfollowed]:
        """Return what to say of modules that loop inside their own `forward`, the innermost ones.

        Args:
            scouts: What was seen of all candidates.
            named: Paths of which something is said already.
        """
        rows: list[Unfollowed] = []
        for scout in sorted(scouts.values(), key=lambda one: -one.candidate.path.count(".")):
            path = scout.candidate.path
            known = [*self._layers.modules, *named, *(one.path for one in rows)]
            if not scout.sightings or any(is_within(other, path) or is_within(path, other) for other in known):
                continue
            if reason := loop_inside(scout.candidate.module, scout.sightings[-1]):
                rows.append(scout.candidate.unfollowed(INSIDE_ITSELF if scout.calls >= CALLS else reason))
        return rows

    def _named_like_one(self, scouts: Mapping[nn.Module, Scout], named: list[str]) -> list[Unfollowed]:
        """Return what to say of modules that are called as recurrent ones are, and did nothing like it.

        Args:
            scouts: What was seen of all candidates.
            named: Paths of which something is said already.
        """
        seen = {one.candidate.path: one for one in scouts.values() if one.calls}
        known = [*self._layers.modules, *named]
        names = [one.path for one in self._layers.unfollowed if one.path in seen]
        others = [path for path in names if not any(is_within(path, o) or is_within(o, path) for o in known)]
        return [seen[path].candidate.unfollowed(_why_not(seen[path]), hint="register") for path in others]


def _why_not(scout: Scout) -> str:
    if scout.calls >= CALLS:
        return f"called {scout.calls} times or more, and nothing that it gave came back to it"
    times = "once" if scout.calls == 1 else "twice"
    return (
        f"called {times}: steps inside its own forward (a scan, a kernel, a parallel form) cannot be seen; if the "
        "model can call it, or a cell inside, once for every step, see rnn_diag.register"
    )


@contextmanager
def _deeper(scout: Scout) -> Iterator[None]:
    scout.depth += 1
    try:
        yield
    finally:
        scout.depth -= 1
