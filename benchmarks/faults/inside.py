"""Every function of the package that a training calls raises: at its first call, and at its last."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from faults.injection import Injection
from faults.training import KINDS, Ending, differences, fit, quiet, suite

import rnn_diag
from rnn_diag.callbacks.attachment import HOOKS

HOME = str(Path(rnn_diag.__file__).parent)

MOST_LINES = 4
"""What one fault may be told in, each line naming something else that is lost."""

GUARDS = ("guarded.<locals>.run", "_observed.<locals>.forward", "Call.take_grad", "_taker.<locals>.hook", "_guarded")
"""Where our errors are caught: nothing of ours is before them."""


class Fault(RuntimeError):
    """What is injected."""


class Injected:
    """Counts the calls of the package's functions, and raises in one of them.

    Args:
        name: The function's; empty to count alone.
        call: Which of its calls raises, from 1 on.
        error: What it raises.

    Attributes:
        calls: By function.
        phases: During what each was called first.
        phase: During what it was raised; empty if it was not.
        error: As above.
    """

    def __init__(self, name: str = "", call: int = 1, error: type[BaseException] = Fault) -> None:
        self.calls: Counter[CodeType] = Counter()
        self.phases: dict[CodeType, str] = {}
        self.phase = ""
        self.error = error
        self._name, self._call = name, call
        self._line = int(name.split(":")[1].split()[0]) if name else 0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Inject inside the block, in every thread that starts there."""
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]

    def _trace(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or self._line not in (0, code.co_firstlineno) or not code.co_filename.startswith(HOME):
            return
        if not self._name or name_of(code) == self._name:
            self.calls[code] += 1
            self.phases.setdefault(code, phase_of(frame))
            if self._name and self.calls[code] == self._call:
                self.phase = phase_of(frame)
                raise self.error("injected")


def phase_of(frame: FrameType | None) -> str:
    """Return during what a function was called: a hook of ours, the model's own forward or backward, or a thread."""
    if threading.current_thread() is not threading.main_thread():
        return "background thread"
    name = "outside of a fit"
    while frame is not None:
        code = frame.f_code
        if code.co_name in HOOKS and code.co_filename.startswith(HOME):
            name = code.co_name
        if code.co_name == "training_step":
            return "the model's forward"
        if code.co_name == "backward" and "autograd" not in code.co_filename and name == "outside of a fit":
            name = "the model's backward"
        frame = frame.f_back
    return name


def name_of(code: CodeType) -> str:
    file = Path(code.co_filename).relative_to(HOME)
    return f"{file}:{code.co_firstlineno} {code.co_qualname}"


@dataclass(frozen=True)
class Function:
    """A function of the package that a training calls.

    Attributes:
        kind: Of network: the first of `KINDS` that leads there.
        name: File, line and name.
        calls: How often it is called.
        phase: During what, the first time.
    """

    kind: str
    name: str
    calls: int
    phase: str

    @property
    def part(self) -> str:
        """In which folder of the package it is."""
        return self.name.rpartition(":")[0].rpartition("/")[0] or self.name.partition(":")[0]


def functions() -> list[Function]:
    """Return every function that the trainings of all kinds call, in one of them."""
    found: dict[str, Function] = {}
    for kind in KINDS:
        counted = Injected()
        with quiet():
            fit(suite(), kind)  # what is imported and looked up once is there from then on
            fit(suite(), kind, counted.at_work())
        for code, calls in counted.calls.items():
            found.setdefault(name_of(code), Function(kind, name_of(code), calls, counted.phases[code]))
    return [one for one in found.values() if one.phase != "outside of a fit" and one.name.split()[1] not in GUARDS]


@cache
def bare(kind: str) -> Ending:
    """Return how training ends without us."""
    return fit([], kind)


def injected(function: Function, call: int, error: type[BaseException]) -> Injection:
    """Let a function raise at one of its calls, and return how training ended."""
    fault = Injected(function.name, call, error)
    with quiet():
        ending = fit(suite(), function.kind, fault.at_work())
    what = f"{error.__name__} in {function.name} at call {call}"
    wrong = _wrong(function.kind, fault, ending)
    if issubclass(error, Exception):
        return Injection(f"an error in `{function.part}`", fault.phase, what, wrong)
    return Injection(f"Ctrl-C in `{function.part}`", fault.phase, what, wrong, "ended by it, nothing left behind")


def _wrong(kind: str, fault: Injected, ending: Ending) -> list[str] | None:
    """Return what is not as it should be; None if the fault was not met."""
    if not fault.phase:
        return None
    wrong = [f"left behind: {one}" for one in dict.fromkeys(ending.left)]
    wrong += [f"no {one}" for one in ending.files if "doctor.json" not in one]
    if issubclass(fault.error, Exception):
        wrong += [f"ended by {ending.error}"] if ending.error else []
        wrong += [f"other {one}" for one in differences(bare(kind), ending)]
        wrong += [f"told {len(ending.told)} times"] if len(ending.told) > MOST_LINES else []
    elif not ending.error.startswith(("SystemExit", "KeyboardInterrupt")):
        wrong += [f"ended by {ending.error or 'itself'}, not as asked for"]
    return wrong
