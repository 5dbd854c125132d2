"""What a measured step costs: the whole suite with TensorBoard, in training steps of the same shape, on one thread.

    python benchmarks/suite.py [--repeats 5] [--only LSTM] [--json suite.json]

Processor time, the background thread's included. Steps are measured by turns with others in one run: a cycle is one
measured step and three that are not; the cost is the cycle's time less four of its plain steps, a mean over cycles, as
pictures and spectra do not come at every measured step. The first one, which checks the whole batch, is told apart.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader

from rnn_diag import RNNDiagnostics

CYCLE = 4
SHAPES: dict[str, tuple[type[nn.RNNBase], tuple[int, int, int, int], dict[str, Any], float | None]] = {
    "LSTM (100,64,128,256)": (nn.LSTM, (100, 64, 128, 256), {}, 0.5),
    "LSTM (50,128,256,512) two layers": (nn.LSTM, (50, 128, 256, 512), {"num_layers": 2}, 0.5),
    "GRU (500,16,64,128)": (nn.GRU, (500, 16, 64, 128), {}, 1.0),
    "LSTM (784,32,1,128)": (nn.LSTM, (784, 32, 1, 128), {}, 1.0),
    "LSTM (100,20,32,64)": (nn.LSTM, (100, 20, 32, 64), {}, 2.0),
    "LSTM (100,64,128,256) packed": (nn.LSTM, (100, 64, 128, 256), {"packed": True}, None),
    "LSTM (100,64,128,256) bidirectional": (nn.LSTM, (100, 64, 128, 256), {"bidirectional": True}, None),
    "RNN (100,64,128,256)": (nn.RNN, (100, 64, 128, 256), {}, None),
}
"""Kind, (T, B, I, H), options, and the most that a measured step should cost in training steps."""


class Regressor(pl.LightningModule):
    def __init__(
        self, kind: type[nn.RNNBase], shape: tuple[int, int, int, int], packed: bool = False, **options: Any
    ) -> None:
        super().__init__()
        steps, batch, features, units = shape
        self.rnn = kind(features, units, **options)
        self.head = nn.Linear(units * (2 if self.rnn.bidirectional else 1), 1)
        self.lengths = torch.linspace(steps, steps // 2, batch).long() if packed else None

    def training_step(self, batch: Tensor) -> Tensor:
        inputs = batch if self.lengths is None else pack_padded_sequence(batch, self.lengths)
        output = self.rnn(inputs)[0]
        steps = output.data if self.lengths is not None else output[-1]
        return self.head(steps).pow(2).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class Clock(pl.Callback):
    """Notes the processor time between the starts of batches."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.starts.append(time.process_time())

    @property
    def steps(self) -> list[float]:
        return [after - before for before, after in zip(self.starts, self.starts[1:], strict=False)]


def measured(name: str, repeats: int) -> dict[str, Any]:
    """Return the cost of the first and of a later measured step in training steps, and seconds of a plain one."""
    kind, shape, options, goal = SHAPES[name]
    torch.manual_seed(0)
    clock, model = Clock(), Regressor(kind, shape, **options)
    batches = DataLoader([torch.randn(*shape[:3])] * (CYCLE * (repeats + 2) + 1), batch_size=None)
    with tempfile.TemporaryDirectory() as folder:
        suite = RNNDiagnostics(every_n_steps=CYCLE, max_overhead=None)
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=1,
            callbacks=[clock, suite],
            logger=TensorBoardLogger(folder),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=CYCLE,
        )
        gc.collect()  # whatever imports left, which takes a third of a second once and would hit any of the steps
        trainer.fit(model, batches)
        written = sum(path.stat().st_size for path in Path(folder).rglob("events*"))
    cycles = [clock.steps[k : k + CYCLE] for k in range(0, CYCLE * (repeats + 2), CYCLE)]
    extra = []
    plain = statistics.median(step for cycle in cycles[1:] for step in cycle[2:])
    for cycle in cycles:
        own = statistics.median(cycle[2:])
        extra.append((sum(cycle) - CYCLE * own) / own)
    return {
        "shape": name,
        "plain_seconds": plain,
        "first": extra[0],
        "later": statistics.fmean(extra[2:]),
        "milliseconds": 1e3 * plain * statistics.fmean(extra[2:]),
        "bytes": written / len(cycles),
        "goal": goal,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="the shapes whose name holds this; others in the file stay")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    known = json.loads(asked.json.read_text()) if asked.json and asked.json.exists() else []
    found = {one["shape"]: one for one in known}
    for name in SHAPES:
        if asked.only in name:
            found[name] = measured(name, asked.repeats)
            print("{shape:40} plain {plain_seconds:.3f} s  first {first:.2f} later {later:.2f}".format(**found[name]))
            if asked.json:
                asked.json.write_text(json.dumps([found[one] for one in SHAPES if one in found], indent=1))


if __name__ == "__main__":
    main()
