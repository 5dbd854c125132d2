"""What many ranks, long runs and many measured steps cost: measured on 2 and 4 processes, simulated beyond.

    python benchmarks/scale.py [--json scale.json] [--picture docs/images/ranks.png]

- wire: what a measured step sends, and how long that takes, for one LSTM of 64 units and the default suite.
- ranks: the share of the time that measuring takes on up to 1024 ranks, by a model fitted to that, with the pace's own
  objects on a clock of the simulation.
- files: bytes of an event file after so many measured steps, from a real run's own measurements.
- day: a day at 50 steps a second, 4.3 million: measured steps, histories, checkpoint state.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import pickle
import random
import statistics
import sys
import tempfile
import time
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils.data import DataLoader

from rnn_diag.callbacks import RNNDiagnostics
from rnn_diag.callbacks.concern import Schedule
from rnn_diag.callbacks.session import session
from rnn_diag.callbacks.session.exchange import RankReport, merged
from rnn_diag.callbacks.session.pace import Pace
from rnn_diag.callbacks.session.publishing import Publisher
from rnn_diag.callbacks.session.thinning import Thinning
from rnn_diag.callbacks.session.warnings import Warnings
from rnn_diag.callbacks.session.wire import SIZE, Wire
from rnn_diag.callbacks.session.worker import Worker
from rnn_diag.measurements.history import History
from tests.callbacks.ranks import on_ranks

STEP, LIMIT, DAY = 0.02, 0.02, 24 * 3600
"""Seconds of a training step; the share for measuring; seconds."""
NETWORK_BANDWIDTH, HOP = 10e9, 20e-6
"""Bytes a second and seconds of latency between machines, of a network as clusters have: assumed, not measured."""


class Network(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.LSTM(8, 64, batch_first=True)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.encoder(batch)[0][:, -1].square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


class Reports(pl.Callback):
    """Holds what one rank reports and what is published, and what measuring costs."""

    def __init__(self) -> None:
        self.reports: list[RankReport] = []
        self.published: list[Any] = []
        self.costs: list[float] = []
        reported, published = session.exchanged, Publisher.publish

        def exchange(wire: Any, trainer: Any, mine: RankReport) -> list[RankReport]:
            self.reports.append(mine)
            return reported(wire, trainer, mine)

        def publish(publisher: Publisher, trainer: Any, *arguments: Any) -> None:
            self.published.append(arguments)
            published(publisher, trainer, *arguments)

        session.exchanged = exchange
        Publisher.publish = publish  # type: ignore[method-assign]

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.costs.append(trainer.callbacks[1]._session._pace.spent)  # type: ignore[attr-defined]


def measured_steps(count: int) -> tuple[Reports, RNNDiagnostics]:
    """Train for some steps, all of them measured."""
    reports, suite = Reports(), RNNDiagnostics(1, max_overhead=None)
    with tempfile.TemporaryDirectory() as folder:
        trainer = pl.Trainer(
            max_epochs=1, accelerator="cpu", callbacks=[reports, suite], enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, logger=pl.loggers.TensorBoardLogger(folder),
        )  # fmt: skip
        trainer.fit(Network(), DataLoader([torch.randn(32, 100, 8)] * count, batch_size=None))
    return reports, suite


def seconds(act: Any, repeats: int = 20) -> float:
    """Return the median time of a call."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def wire(report: RankReport) -> dict[str, Any]:
    """Return what a report takes to be sent and merged: on this rank, and on 2 and 4 processes."""
    message = report.to_bytes()
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")

    def gathering(rank: int, ranks: int) -> float:
        torch.distributed.init_process_group("gloo", rank=rank, world_size=ranks)
        line = Wire()
        return seconds(lambda: line.gather(trainer, message), 200)

    gathered = {ranks: max(on_ranks(ranks, lambda rank, n=ranks: gathering(rank, n))) for ranks in (2, 4)}
    again = RankReport.from_bytes(message)
    return {
        "message_bytes": len(message),
        "sent_bytes": SIZE,
        "pack_ms": 1e3 * seconds(report.to_bytes),
        "unpack_ms": 1e3 * seconds(lambda: RankReport.from_bytes(message)),
        "merge_ms": 1e3 * seconds(lambda: merged({}, [report.found, again.found])),
        "gather_ms": {ranks: 1e3 * taken for ranks, taken in gathered.items()},
    }


def exchange_cost(ranks: int, found: dict[str, Any]) -> float:
    """Return the seconds of an exchange: a ring of hops, all messages, and each unpacked and merged."""
    each = (found["unpack_ms"] + found["merge_ms"]) / 1e3
    ring = (ranks - 1) * (HOP + SIZE / NETWORK_BANDWIDTH)
    return found["pack_ms"] / 1e3 + found["gather_ms"][2] / 1e3 + ring + ranks * each if ranks > 1 else 0.0


def on_many_ranks(ranks: int, mean: float, spread: float, found: dict[str, Any], hours: float = 2) -> dict[str, Any]:
    """Simulate a run on so many ranks: each measured step waits for the slowest of them."""
    draw, clock = random.Random(ranks), [0.0]
    pace, schedule = Pace(LIMIT, 50, lambda: clock[0]), Schedule(50, 8, "*", LIMIT)
    step = count = 0
    spent = 0.0
    while clock[0] < hours * 3600:
        pace.step_starts()
        clock[0] += STEP
        if pace.is_due(schedule, step):
            with pace.measuring():
                pace.measures(step, [schedule])
                slowest = max(draw.lognormvariate(math.log(mean), spread) for _ in range(ranks))
                clock[0] += slowest + exchange_cost(ranks, found)
                spent += slowest + exchange_cost(ranks, found)
                pace.agree([pace.read()])
                count += 1
        step += 1
    return {"share": spent / clock[0], "every": step / count, "cost_ms": 1e3 * spent / count}


def files(published: list[Any], counts: tuple[int, ...]) -> dict[str, Any]:
    """Return megabytes of an event file after so many measured steps, scalars and all else apart."""
    measured = next(one[1] for one in reversed(published) if one[2] and len(one[1]) > 2)
    spectra = next(one[1] for one in published if not one[2])
    of_the_run = {"rnn_diag/overhead": 1.0, "rnn_diag/every_n_steps": 50.0}
    sizes: dict[str, Any] = {}
    for scalars in (False, True):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            logger = pl.loggers.TensorBoardLogger(folder)
            trainer = pl.Trainer(logger=logger, accelerator="cpu", enable_checkpointing=False)
            if not scalars:
                logger.log_metrics = lambda *_, **__: None  # type: ignore[method-assign]
            concerns = list(measured)
            worker: Worker[Any] = Worker()
            publisher = Publisher(concerns, Warnings(), Pace(None), worker)
            for number in range(max(counts)):
                publisher.publish(trainer, 50 * number, measured, of_the_run)
                if number % 4 == 0 and spectra:
                    publisher.publish(trainer, 50 * number, spectra, {})
                publisher.write_cost(trainer, 50 * number, 2.0, 0.01)
                if number + 1 in counts:
                    publisher._hear_background(trainer, in_any_case=True)
                    logger.experiment.flush()
                    size = sum(one.stat().st_size for one in Path(logger.log_dir).iterdir())
                    sizes.setdefault(str(number + 1), {})["all" if scalars else "without_scalars"] = size / 1e6
            publisher.draw_last(trainer)
            worker.close()
    return sizes


def day(mean: float) -> dict[str, Any]:
    """Return what a day at 50 steps a second leaves behind."""
    clock = [0.0]
    pace, schedule = Pace(LIMIT, 50, lambda: clock[0]), Schedule(50, 8, "*", LIMIT)
    thinning, history = Thinning(), History()
    tracemalloc.start()
    step = count = written = 0
    began = tracemalloc.get_traced_memory()[0]
    half = 0
    column = np.zeros(100, dtype=np.float32)
    while clock[0] < DAY:
        pace.step_starts()
        clock[0] += STEP
        if pace.is_due(schedule, step):
            with pace.measuring():
                pace.measures(step, [schedule])
                clock[0] += mean
                pace.agree([pace.read()])
            count += 1
            written += thinning.chooses({"l0/steps": float(step)})
            history.add(step, column)
        step += 1
        if not half and clock[0] > DAY / 2:
            half = tracemalloc.get_traced_memory()[0] - began
    held = tracemalloc.get_traced_memory()[0] - began
    tracemalloc.stop()
    return {
        "steps": step,
        "measured": count,
        "written": written,
        "columns": len(history.steps),
        "checkpoint_bytes": len(pickle.dumps(history.state)),
        "memory_kb_after_half": half / 1e3,
        "memory_kb": held / 1e3,
    }


def drawn(found: dict[str, Any], picture: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    ranks = sorted(map(int, found))
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for axis, what, label in ((axes[0], "share", "share of the time, %"), (axes[1], "every", "steps between measured")):
        values = [found[str(one)][what] * (100 if what == "share" else 1) for one in ranks]
        axis.plot(ranks, values, "o-", color="#2563eb")
        axis.set(xscale="log", xlabel="ranks", ylabel=label, ylim=(0, None))
        axis.set_xscale("log", base=2)
    axes[0].axhline(100 * LIMIT, color="#9ca3af", linestyle="--")
    figure.savefig(picture, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    reports, _ = measured_steps(12)
    costs = np.diff(reports.costs)[2:]
    mean, spread = float(np.median(costs)), float(np.std(np.log(costs)))
    found: dict[str, Any] = {"measured_step_ms": 1e3 * mean, "spread": spread}
    report = next(one for one in reports.reports[4:] if one.found)
    found["wire"] = wire(report)
    print(json.dumps(found, indent=1), flush=True)
    found["ranks"] = {str(n): on_many_ranks(n, mean, spread, found["wire"]) for n in (1, 2, 4, 16, 64, 256, 1024)}
    print(json.dumps(found["ranks"], indent=1), flush=True)
    found["day"] = day(mean)
    print(json.dumps(found["day"], indent=1), flush=True)
    if asked.picture:
        drawn(found["ranks"], asked.picture)
    found["files"] = files(reports.published, (500, 1000, 2000, 4000))
    print(json.dumps(found["files"], indent=1), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
