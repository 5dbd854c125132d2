"""What measuring takes of the training time, window by window, with every callback and `max_overhead=0.02`.

    python benchmarks/overhead.py [--seconds 60] [--every 1] [--repeats 3] [--json overhead.json]

One LSTM of 64 units, 32 sequences of 100 steps, one CPU thread. Processor time, so that other programs count little:
by how much measured steps, and those after them in which the background works, exceed the median step of their window.
Then runs of 400 steps with the suite's defaults and without, by turns.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from suite import SHAPES, Regressor
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from rnn_diag.callbacks import Doctor, RNNDiagnostics

UNITS, STEPS, BATCH, WINDOW = 64, 100, 32, 150
AFTER = 10
"""Steps after a measured one in which the background may still work."""
DEFAULT_STEPS = 400


class Network(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = nn.LSTM(8, UNITS, batch_first=True), nn.Linear(UNITS, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.head(self.encoder(batch)[0][:, -1]).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


class Batches(torch.utils.data.IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        while True:
            yield torch.randn(BATCH, STEPS, 8)


class Watch(pl.Callback):
    """Notes the processor time at the end of every step, and ends the run in time."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.began, self.ends = seconds, time.perf_counter(), list[float]()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        self.ends.append(time.process_time())
        trainer.should_stop = time.perf_counter() - self.began > self.seconds


def run(seconds: float, every: int) -> tuple[list[float], list[int]]:
    """Return what every step took, and which were measured."""
    with tempfile.TemporaryDirectory() as folder:
        watch, logger = Watch(seconds), TensorBoardLogger(folder)
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            callbacks=[RNNDiagnostics(every), Doctor(every), watch],
            logger=logger,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(Network(), torch.utils.data.DataLoader(Batches(), batch_size=None))
        log = EventAccumulator(logger.log_dir).Reload()
        measured = [event.step for event in log.Scalars("rnn_diag/every_n_steps")]
    return [b - a for a, b in pairwise([watch.ends[0], *watch.ends])], measured


def share(steps: list[float], measured: set[int]) -> float:
    """Return the share of the time of some steps by which the measured ones, and some after each, exceed others."""
    bare = statistics.median(steps)
    counted = {at + k for at in measured for k in range(AFTER) if at + k < len(steps)}
    return sum(steps[at] - bare for at in counted) / sum(steps)


def windows(seconds: float, every: int) -> dict[str, Any]:
    """Return the shares of windows of a run in which measuring is asked for far more often than there is time for."""
    steps, measured = run(seconds, every)
    shares = []
    for start in range(WINDOW, len(steps) - WINDOW + 1, WINDOW):
        inside = {at - start for at in measured if start <= at < start + WINDOW}
        shares.append(share(steps[start : start + WINDOW], inside))
    return {"steps": len(steps), "step_seconds": statistics.median(steps), "measured": measured, "shares": shares}


def defaults(repeats: int) -> dict[str, Any]:
    """Return by what 400 steps with the defaults take longer than as many without: all of them, and later ones."""
    whole, later = [], []
    for _ in range(repeats):
        bare, with_suite = (_steps(callbacks) for callbacks in ([], [RNNDiagnostics()]))
        whole.append(sum(with_suite) / sum(bare))
        later.append(sum(with_suite[AFTER:]) / sum(bare[AFTER:]))
    return {"steps": DEFAULT_STEPS, "whole": statistics.median(whole), "later": statistics.median(later)}


def _steps(callbacks: list[pl.Callback]) -> list[float]:
    """Return the processor time of every step, from the start of the fit on and to its end."""
    torch.manual_seed(0)
    kind, shape, options, _ = SHAPES["LSTM (100,20,32,64)"]
    batches = torch.utils.data.DataLoader([torch.randn(*shape[:3])] * DEFAULT_STEPS, batch_size=None)
    with tempfile.TemporaryDirectory() as folder:
        watch = Watch(math.inf)
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            callbacks=[*callbacks, watch],
            logger=TensorBoardLogger(folder),
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        began = time.process_time()
        trainer.fit(Regressor(kind, shape, **options), batches)
        ends = [began, *watch.ends[:-1], time.process_time()]
    return [b - a for a, b in pairwise(ends)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--every", type=int, default=1, help="steps between measured ones that are asked for")
    parser.add_argument("--repeats", type=int, default=3, help="of a run of 400 steps with defaults")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    found = {"windows": windows(asked.seconds, asked.every), "defaults": defaults(asked.repeats)}
    one = found["windows"]
    print(f"{one['steps']} steps of {1000 * one['step_seconds']:.1f} ms; measured: {one['measured']}")
    print(f"percent of the time in windows of {WINDOW} steps: {' '.join(f'{100 * s:.1f}' for s in one['shares'])}")
    print(
        "{steps} steps with defaults: {whole:.3f} of a run without, {later:.3f} after the first".format(
            **found["defaults"]
        )
    )
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
