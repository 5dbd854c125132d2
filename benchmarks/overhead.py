"""What measuring takes of the training time, window by window, with every callback and `max_overhead=0.02`.

    python benchmarks/overhead.py [SECONDS=60] [EVERY_N_STEPS=1]

One LSTM of 64 units, 32 sequences of 100 steps, one CPU thread. Processor time, so that other programs count little:
by how much measured steps, and those after them in which the background works, exceed the median step of their window.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from rnn_diag.callbacks import Doctor, RNNDiagnostics

UNITS, STEPS, BATCH, WINDOW = 64, 100, 32, 150
AFTER = 10
"""Steps after a measured one in which the background may still work."""


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


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    steps, measured = run(float((sys.argv[1:] or ["60"])[0]), int((sys.argv[2:] or ["1"])[0]))
    shares = []
    for start in range(WINDOW, len(steps) - WINDOW + 1, WINDOW):
        inside = {at - start for at in measured if start <= at < start + WINDOW}
        shares.append(100 * share(steps[start : start + WINDOW], inside))
    print(f"{len(steps)} steps of {1000 * statistics.median(steps):.1f} ms; measured: {measured}")
    print(
        f"percent of the time in windows of {WINDOW} steps after the first: {' '.join(f'{one:.1f}' for one in shares)}"
    )
    if shares:
        print(f"mean {statistics.fmean(shares):.1f}, largest {max(shares):.1f}")
