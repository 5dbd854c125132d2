"""Faults on one of two ranks: no deadlock, and an end within the process group's own time-out."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as pl
import torch
from faults.injection import Injection
from faults.inside import Fault, Function, Injected
from faults.outside import At
from faults.training import Network, quieten, suite
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from rnn_diag.callbacks import DiagnosticWarning
from rnn_diag.callbacks.diagnostic import Diagnostic

TIMEOUT = 15
"""Seconds that the process group waits for a rank."""

STEPS = 4


class Batches(IterableDataset[Any]):
    """Other batches on each rank; fewer on rank one, if that is asked for."""

    def __init__(self, rank: int, fewer: int = 0, empty: bool = False) -> None:
        self.rank, self.fewer, self.empty = rank, fewer, empty

    def __iter__(self) -> Iterator[list[Tensor]]:
        draw = torch.Generator().manual_seed(self.rank)
        for step in range(STEPS - self.fewer * self.rank):
            size = 0 if self.empty and self.rank and step == 1 else 4
            yield [torch.randn(size, 4 + self.rank, 2, generator=draw), torch.randn(size, generator=draw)]


class Idle(Network):
    """Does not run its recurrent module on rank one."""

    def forward(self, inputs: Tensor) -> Tensor:
        if self.global_rank == 1:
            return sum(one.sum() for one in self.parameters()).expand(len(inputs))  # type: ignore[union-attr]
        return super().forward(inputs)


class Unsendable(Diagnostic):
    """Measures what cannot be sent to another process."""

    name = "unsendable"

    def measure(self, trace: Any, units: Any) -> Any:
        return lambda: 0


def train(rank: int, port: int, folder: Path, ours: bool, case: dict[str, Any]) -> dict[str, Any]:
    """Train on one rank, and return how that ended."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    os.environ.update(LOCAL_RANK=str(rank), NODE_RANK="0", **address)
    quieten()
    callbacks = [*(suite() + case.get("more", []) if ours else []), *case.get("others", lambda rank: [])(rank)]
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", devices=2, callbacks=callbacks, default_root_dir=folder, logger=False,
        strategy=DDPStrategy(process_group_backend="gloo", timeout=timedelta(seconds=TIMEOUT)),
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
        use_distributed_sampler=False, gradient_clip_val=0.1,
    )  # fmt: skip
    model, error = case.get("model", Network)("lstm", "recurrent"), ""
    fault = case.get("fault", lambda: Injected("x:-1 x"))() if ours else Injected("x:-1 x")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", DiagnosticWarning)
        try:
            if rank == case.get("on", 1):
                with fault.at_work():
                    trainer.fit(model, DataLoader(Batches(rank, **case.get("batches", {})), batch_size=None))
            else:
                trainer.fit(model, DataLoader(Batches(rank, **case.get("batches", {})), batch_size=None))
        except BaseException as raised:
            error = type(raised).__name__
    weights = [one.detach().clone() for one in model.parameters()]
    told = [str(one.message) for one in caught if one.category is DiagnosticWarning]
    return {"error": error, "losses": model.losses, "weights": weights, "told": told, "phase": fault.phase}


def both(ours: bool, case: dict[str, Any]) -> list[Any]:
    """Train on two ranks; return how each ended: what it returned, "hangs", or its exit status."""
    context = multiprocessing.get_context("fork")
    with socket.socket() as free, TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        pipes = [context.Pipe(duplex=False) for _ in range(2)]

        def run(rank: int) -> None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, 1), os.dup2(nowhere, 2)
            pipes[rank][1].send_bytes(pickle.dumps(train(rank, port, Path(folder), ours, case)))
            os._exit(0)

        processes = [context.Process(target=run, args=(rank,)) for rank in range(2)]
        for process in processes:
            process.start()
        for _, send in pipes:
            send.close()
        ends, until = [], time.monotonic() + 2 * TIMEOUT + 30
        for (receive, _), process in zip(pipes, processes, strict=True):
            try:
                left = max(0.0, until - time.monotonic())
                ends.append(pickle.loads(receive.recv_bytes()) if receive.poll(left) else "hangs")
            except EOFError:
                process.join(5)
                ends.append(f"ended with {process.exitcode}")
        for process in processes:
            process.kill()
            process.join()
        return ends


def met(what: str, case: dict[str, Any], bare: list[Any] | None = None) -> Injection:
    """Train on two ranks with a fault, with us and without, and compare."""
    ends, expected = both(True, case), bare if bare is not None else both(False, case)
    wrong, whole = [], True
    for rank, (end, other) in enumerate(zip(ends, expected, strict=True)):
        if isinstance(end, str) or isinstance(other, str):
            whole = False
            wrong += [f"rank {rank} {end}; without us {other}"] if isinstance(end, str) and end != other else []
    if whole:
        for rank, (end, other) in enumerate(zip(ends, expected, strict=True)):
            by, bare_by = (one["error"] or "itself" for one in (end, other))
            wrong += [f"rank {rank} ended by {by}; without us by {bare_by}"] if by != bare_by else []
            if not other["error"] and not all(map(torch.equal, end["weights"], other["weights"])):
                wrong.append(f"other weights on rank {rank}")
        told = sum(len(end["told"]) for end in ends)
        wrong += [f"told {told} times"] if told > MOST_LINES + len(expected) else []
    reached = case.get("fault") is None or any(not isinstance(end, str) and end["phase"] for end in ends)
    phase = next((end["phase"] for end in ends if not isinstance(end, str) and end["phase"]), case.get("phase", ""))
    outcome = Injection.outcome if case.get("goes_on", True) else "as without us, within the time-out"
    return Injection("one of two ranks: " + what, phase, what, wrong if reached else None, outcome)


MOST_LINES = 6


def cases() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield faults on one rank."""
    yield "fewer batches", {"batches": {"fewer": 2}, "goes_on": False, "phase": "all of it"}
    yield "an empty batch", {"batches": {"empty": True}, "phase": "all of it"}
    yield "a layer that does not run", {"model": Idle, "phase": "all of it"}
    yield "measures what cannot be sent", {"more": [Unsendable(1, max_overhead=None)], "phase": "all of it"}
    for phase in ("on_fit_start", "on_train_batch_start", "on_before_backward", "on_train_batch_end", "on_train_end"):
        for how, act in {"killed": _kill, "raises": _raise}.items():
            yield how, {"others": partial(_others, phase, act), "goes_on": False, "phase": phase}


def of_functions(functions: list[Function]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield for each function of the session that it raises on one rank."""
    for number, one in enumerate(functions):
        case = {"fault": partial(Injected, one.name, 1, Fault), "on": number % 2}
        yield f"Fault in {one.name}", case


def _others(phase: str, act: Callable[[pl.Trainer], object], rank: int) -> list[pl.Callback]:
    return [At(phase, act)] if rank == 1 else []


def _kill(trainer: pl.Trainer) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _raise(trainer: pl.Trainer) -> None:
    raise ValueError("of the user's, on one rank")
