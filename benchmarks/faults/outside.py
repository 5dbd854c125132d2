"""Faults around a training, each in a process of its own: streams, disks, signals, checkpoints, other callbacks."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as pl
import torch
from faults.injection import Injection
from faults.training import Ending, differences, fit, suite
from lightning.pytorch.loggers import Logger

from rnn_diag.callbacks.attachment import DiagnosticCallback

PATIENCE = 60
"""Seconds after which a training of a second is taken to hang."""

ONCE = ("setup", "on_fit_start", "on_validation_start", "on_train_end")
BATCH = ("on_train_batch_start", "on_before_backward", "on_after_backward", "on_train_batch_end")
PHASES = (*ONCE, *BATCH)
"""Hooks of another callback in which something happens, at the second batch where there are several."""

Act = Callable[[pl.Trainer], object]


class At(pl.Callback):
    """Does something once, in one of the hooks: at the second batch, unless another call of it is named."""

    def __init__(self, phase: str, act: Act, call: int = 0) -> None:
        def once(trainer: pl.Trainer, *_: Any, **__: Any) -> None:
            self.calls += 1
            if self.calls == (call or (2 if phase in BATCH else 1)):
                act(trainer)

        self.calls = 0
        setattr(self, phase, once)


@dataclass(frozen=True)
class Case:
    """A fault around a training.

    Attributes:
        fault: What is wrong.
        phase: When it happens.
        act: What happens then.
        before: What happens before the training, in its folder; returns options of the trainer.
        doctor: Whether a `doctor.json` is there in the end.
    """

    fault: str
    phase: str
    act: Act = lambda trainer: None
    before: Callable[[Path], dict[str, Any]] = field(default=lambda folder: {})
    doctor: bool = True

    def ending(self, ours: bool, folder: Path) -> Ending:
        """Train with the fault, with us or without, and return how that ended."""
        options = {"root": folder, **self.before(folder)}
        others = [At(self.phase, self.act)] if self.phase in PHASES else []
        return fit([*(suite() if ours else []), *others], **options)

    def met(self) -> Injection:
        """Train with the fault, with us and without, and compare."""
        with TemporaryDirectory() as ours, TemporaryDirectory() as bare:
            ending = in_a_process(lambda: self.ending(True, Path(ours)))
            expected = in_a_process(lambda: self.ending(False, Path(bare)))
        outcome = "as without us" if isinstance(expected, str) or expected.error else Injection.outcome
        return Injection(self.fault, self.phase, f"{self.fault}, {self.phase}", self._wrong(ending, expected), outcome)

    def _wrong(self, ending: Any, expected: Any) -> list[str]:
        if isinstance(ending, str) or isinstance(expected, str):
            return [] if ending == expected else [f"{ending}; without us {expected}"]
        wrong = [f"left behind: {one}" for one in ending.left]
        wrong += [f"no {one}" for one in ending.files if self.doctor or "doctor" not in one]
        wrong += [f"other {one}" for one in differences(expected, ending)]
        if ending.error.partition(":")[0] != expected.error.partition(":")[0]:
            wrong.append(f"ended by {ending.error or 'itself'}; without us by {expected.error or 'itself'}")
        return wrong


def in_a_process(go: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Return what a function returns in a process of its own, or how that process ended."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def run() -> None:
        receive.close()
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 1), os.dup2(nowhere, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        send.send_bytes(pickle.dumps(go()))
        os._exit(0)

    process = context.Process(target=run)
    process.start()
    send.close()
    try:
        return pickle.loads(receive.recv_bytes()) if receive.poll(patience) else "hangs"
    except EOFError:
        process.join(5)
        return f"ended with {process.exitcode}"
    finally:
        process.kill()
        process.join()


def cases() -> Iterator[Case]:
    """Yield all of them."""
    for phase in PHASES:
        for name in ("stdout", "stderr"):
            for how, act in STREAMS.items():
                yield Case(f"{name} {how}", phase, lambda _, act=act, name=name: act(name))
        for size in (0, 1 << 10, 1 << 14):
            yield Case(f"no file may be larger than {size} bytes", phase, lambda _, size=size: limited(size),
                       without_checkpoints, doctor=False)  # fmt: skip
        for how, act in FOLDERS.items():
            yield Case(how, phase, act, doctor=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL):
            yield Case(f"signal {number.name}", phase, lambda _, number=number: os.kill(os.getpid(), number),
                       doctor=phase in BATCH or phase == "on_train_end")  # fmt: skip
        for error in ERRORS:
            yield Case(f"another callback raises {error.__name__}", phase, lambda _, error=error: raises(error),
                       doctor=phase in BATCH or phase == "on_train_end")  # fmt: skip
        for how, act in MEDDLING.items():
            yield Case(how, phase, act, doctor=False)
    for what, options in OPTIONS.items():
        yield Case(what, "all of it", before=lambda folder, options=options: options(folder), doctor=False)
    for name in NAMES:
        yield Case(f"a module called `{name[:20]!r}`", "all of it", before=lambda folder, name=name: {"name": name})


def raises(error: type[BaseException]) -> None:
    raise error("of the user's")


def limited(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def without_checkpoints(folder: Path) -> dict[str, Any]:
    return {"enable_checkpointing": False, "logger": False}


def _broken_pipe(name: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, getattr(sys, name).fileno())


def _full(name: str) -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), getattr(sys, name).fileno())


STREAMS: dict[str, Callable[[str], object]] = {
    "closed": lambda name: getattr(sys, name).close(),
    "without a descriptor": lambda name: os.close(getattr(sys, name).fileno()),
    "a broken pipe": _broken_pipe,
    "on a full disk": _full,
    "missing": lambda name: setattr(sys, name, None),
}

FOLDERS: dict[str, Act] = {
    "the run's folders removed": lambda trainer: [shutil.rmtree(one.log_dir, True) for one in trainer.loggers],
    "the run's folders a file": lambda trainer: [
        (shutil.rmtree(one.log_dir, True), Path(one.log_dir).touch()) for one in trainer.loggers
    ],
    "the working directory removed": lambda trainer: _in_a_removed_folder(),
}

ERRORS = (ValueError, KeyError, MemoryError, torch.OutOfMemoryError, KeyboardInterrupt, SystemExit, StopIteration)


def _in_a_removed_folder() -> None:
    with TemporaryDirectory() as folder:
        os.chdir(folder)


def _without_ours(trainer: pl.Trainer) -> None:
    trainer.callbacks = [one for one in trainer.callbacks if not isinstance(one, DiagnosticCallback)]  # type: ignore[attr-defined]


def _without_weights(trainer: pl.Trainer) -> None:
    for one in trainer.lightning_module.parameters():
        one.data.fill_(float("nan"))


MEDDLING: dict[str, Act] = {
    "our callbacks taken out": _without_ours,
    "our callbacks put in twice": lambda trainer: trainer.callbacks.extend(  # type: ignore[attr-defined]
        [one for one in trainer.callbacks if isinstance(one, DiagnosticCallback)]  # type: ignore[attr-defined]
    ),
    "the loggers taken out": lambda trainer: setattr(trainer, "loggers", []),
    "the event file closed": lambda trainer: trainer.loggers[0].experiment.close(),
    "the loggers ended": lambda trainer: [one.finalize("failed") for one in trainer.loggers],
    "callback metrics emptied": lambda trainer: trainer.callback_metrics.clear(),
    "a copy of the trainer's callbacks": lambda trainer: copy.deepcopy(trainer.callbacks),  # type: ignore[attr-defined]
    "callbacks pickled": lambda trainer: [
        pickle.dumps(one)
        for one in trainer.callbacks
        if not isinstance(one, At)  # type: ignore[attr-defined]
    ],
    "a checkpoint written": lambda trainer: trainer.save_checkpoint(Path(trainer.default_root_dir) / "more.ckpt"),
    "warnings made errors": lambda trainer: warnings.simplefilter("error"),
    "the environment emptied": lambda trainer: os.environ.clear(),
    "garbage collected": lambda trainer: gc.collect(),
    "the fit told to stop": lambda trainer: setattr(trainer, "should_stop", True),
    "weights that are no numbers": _without_weights,
    "layers frozen": lambda trainer: trainer.lightning_module.requires_grad_(False),
    "layers in double precision": lambda trainer: trainer.lightning_module.double(),
    "anomalies looked for": lambda trainer: torch.autograd.set_detect_anomaly(True),
    "little stack left": lambda trainer: sys.setrecursionlimit(len(_frames()) + 150),
}


def _frames() -> list[Any]:
    frame, frames = sys._getframe(), []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back  # type: ignore[assignment]
    return frames


class Homeless(Logger):
    """A logger without a folder, whose every call fails once the first is over."""

    name = version = "homeless"

    def __init__(self) -> None:
        self.calls = 0

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.calls += 1
        if any(name.count("/") > 1 for name in metrics):
            raise ConnectionError("gone")

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        pass


def _unwritable(folder: Path) -> dict[str, Any]:
    (folder / "sealed").mkdir()
    (folder / "sealed").chmod(0o500)
    if os.getuid() == 0:
        folder.chmod(0o755)
        os.setuid(65534)
    return {"default_root_dir": folder / "sealed", "logger": False, "enable_checkpointing": False}


def _checkpoint(state: Any) -> Callable[[Path], dict[str, Any]]:
    """Return what makes a checkpoint after one epoch in which our callbacks' states are another."""

    def options(folder: Path) -> dict[str, Any]:
        (folder / "first").mkdir()
        fit(suite(), root=folder / "first", max_epochs=1)
        file = next((folder / "first").rglob("*.ckpt"))
        content = torch.load(file, weights_only=False)
        content["callbacks"] = {
            key: state if any(word in key for word in ("RNNDiagnostics", "GateWeights", "Doctor")) else value
            for key, value in content["callbacks"].items()
        }
        torch.save(content, file)
        return {"checkpoint": str(file), "max_epochs": 2}

    return options


STATES = {
    "None": None, "a number": 5, "a list": [1, 2], "empty": {}, "other words": {"a": 1},
    "progress of NaN": {"progress": {"stretch": float("nan"), "drawn": float("nan")}, "histories": {}},
    "infinite progress": {"progress": {"stretch": float("inf"), "drawn": float("inf")}, "histories": {}},
    "progress of text": {"progress": {"stretch": "3", "drawn": []}, "histories": {}},
    "histories of numbers": {"progress": {}, "histories": {"gradient_norms": 5, "saturation": "x", "spectrum": [1]}},
    "histories of other layers": {"histories": {"gradient_norms": {"x.l0": {"steps": [0], "columns": [1]}}}},
    "histories of other shapes": {
        "histories": {"gradient_norms": {"parts.recurrent.l0": {"steps": [0, 1], "columns": [torch.ones(3, 3, 3)]}}}
    },
}  # fmt: skip

OPTIONS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "a folder that cannot be written": _unwritable,
    "no logger": lambda folder: {"logger": False},
    "a logger without a folder that fails": lambda folder: {"logger": Homeless()},
    "a folder in memory": lambda folder: {"default_root_dir": "memory://runs", "logger": False},
    "a trial run": lambda folder: {"fast_dev_run": True},
    "one step": lambda folder: {"max_steps": 1},
    "no time": lambda folder: {"max_time": {"seconds": 0}},
    "no batches": lambda folder: {"limit_train_batches": 0},
    "no validation": lambda folder: {"limit_val_batches": 0},
    "accumulated batches": lambda folder: {"accumulate_grad_batches": 2},
    "half precision": lambda folder: {"precision": "bf16-mixed"},
    "double precision": lambda folder: {"precision": "64-true"},
    "anomalies looked for from the start": lambda folder: {"detect_anomaly": True},
    **{f"a checkpoint whose state of ours is {what}": _checkpoint(state) for what, state in STATES.items()},
}

NAMES = (
    "[/red]", "[bold", "<script>alert(1)</script>", "a|b", "*a*", "`", "__proto__", "\n", "\x1b[31m", "%s", "{0}",
    "é" * 300, "[link=x]y[/link]", ":smile:", "$x$", "\\", "'", '"', "\u200b",
)  # fmt: skip
