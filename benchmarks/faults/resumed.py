"""A process killed in the midst of a training: it resumes from its last checkpoint, and its files stay readable."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as pl
from faults.injection import Injection
from faults.outside import BATCH, PHASES, At, in_a_process
from faults.training import Ending, differences, fit, suite
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SCALAR = "gradient_norms/parts.recurrent.l0/log10_max"
EPOCHS = 3
CALLS = {phase: 5 for phase in BATCH} | {"on_validation_start": 3}


def _kill(trainer: pl.Trainer) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Killed:
    """A kill of the whole process in a hook, and what a second process makes of what is left.

    Attributes:
        phase: In which hook: that of the last but one batch, or validation, where there are several.
    """

    phase: str

    def met(self) -> Injection:
        """Kill, resume, compare with a run without us that was killed and resumed alike."""
        what = f"kill -9 in {self.phase}, and resumed"
        with TemporaryDirectory() as ours, TemporaryDirectory() as bare:
            ending, expected = self._resumed(True, Path(ours)), self._resumed(False, Path(bare))
            if isinstance(ending, str) or isinstance(expected, str):
                wrong = [] if ending == expected else [f"{ending}; without us {expected}"]
            else:
                wrong = [f"other {one}" for one in differences(expected, ending)]
                wrong += [f"ended by {ending.error}"] if ending.error else []
                wrong += _misread(Path(ours))
        return Injection("kill -9 of the whole process", self.phase, what, wrong, "resumed as without us; files whole")

    def _resumed(self, ours: bool, folder: Path) -> Any:
        killed = in_a_process(lambda: self._train(ours, folder, None, At(self.phase, _kill, CALLS.get(self.phase, 1))))
        if killed != "ended with -9":
            return f"not killed: {killed}"
        last = max(folder.rglob("*.ckpt"), key=os.path.getmtime, default=None)
        return in_a_process(lambda: self._train(ours, folder, None if last is None else str(last)))

    def _train(self, ours: bool, folder: Path, checkpoint: str | None, *others: pl.Callback) -> Ending:
        keeps = pl.callbacks.ModelCheckpoint(folder, save_last=True)
        callbacks = [*(suite() if ours else []), keeps, *others]
        return fit(callbacks, root=folder, checkpoint=checkpoint, max_epochs=EPOCHS)


def cases() -> Iterator[Killed]:
    """Yield a kill in every hook."""
    for phase in PHASES:
        yield Killed(phase)


def _misread(folder: Path) -> list[str]:
    """Return what of the two event files cannot be read; the steps of both must be in order where they are together."""
    wrong = []
    for file in folder.rglob("*tfevents*"):
        try:
            held = EventAccumulator(str(file)).Reload()
            steps = [one.step for one in held.Scalars(SCALAR)] if SCALAR in held.Tags()["scalars"] else []
            wrong += [] if steps == sorted(set(steps)) else [f"steps {steps} in {file.name}"]
        except Exception as error:
            wrong.append(f"{file.name} cannot be read: {error!r}")
    return wrong
