"""What ten minutes with a GPU can tell: is training untouched, are the numbers right, and what do they cost.

    python benchmarks/gpu.py [--write docs/gpu.md] [--json FILE] [--only rounding suite fits layers strategies]

Rows are printed as they are found. Every part has its own seconds, 235 together, and names what it has no time for;
what is found is written after each part, so that a stop loses nothing. `--seconds` gives all parts more or less.
`--write` replaces the tables of the page. `--device cpu --quick` goes through the same code anywhere and says nothing
of a GPU.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader, TensorDataset

try:
    import lightning.pytorch as pl
except ImportError:
    import pytorch_lightning as pl

import rnn_diag.nn as own
from rnn_diag import RNNDiagnostics, record

BEGIN, END = "<!-- benchmarks/gpu.py -->", "<!-- end -->"
SHAPES = (
    (100, 64, 128, 256, 1),
    (784, 32, 16, 128, 1),
    (100, 20, 32, 64, 1),
    (50, 128, 256, 512, 2),
    (512, 64, 512, 1024, 2),
)
"""Timesteps, sequences, features, units, layers."""
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true")


@dataclass
class Table:
    """What one part found in its time."""

    title: str
    columns: Sequence[str]
    until: float
    rows: list[Sequence[Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        said(f"\n{self.title}\n\n{_line(self.columns)}\n{_line(['---'] * len(self.columns))}")

    @contextmanager
    def row(self, *names: Any) -> Iterator[list[Any]]:
        """Give a row to fill in; what goes wrong is its last cell, and what there is no time for is named."""
        cells = list(names)
        try:
            yield cells
        except (OutOfTimeError, subprocess.TimeoutExpired):
            self.left_out.append(" ".join(map(str, names)) + (", in part" if len(cells) > len(names) else ""))
            if len(cells) == len(names):
                return
        except Exception as error:
            cells.append(f"{type(error).__name__}: {' '.join(str(error).split())[:80]}")
        self.rows.append(cells)
        said(_line(cells))

    def check_time(self) -> None:
        """Raise where the part's time is over."""
        if time.perf_counter() > self.until:
            raise OutOfTimeError

    @property
    def end(self) -> str:
        """What was left out."""
        return f"Left out, for lack of time: {', '.join(self.left_out)}." if self.left_out else ""

    def __str__(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join([f"{self.title}\n", *map(_line, lines), *(["", self.end] if self.end else [])])


def said(text: str, out: TextIO = sys.stdout) -> None:
    """Print, also where what libraries print is left out."""
    print(text, file=out, flush=True)


class OutOfTimeError(Exception):
    """A part's time is over."""


def _line(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


class Bench:
    """The device, how long things take on it, and until when the part that runs may take."""

    def __init__(self, device: str, quick: bool) -> None:
        self.device, self.quick = torch.device(device), quick
        self.is_gpu = self.device.type == "cuda"
        self.until = math.inf

    def table(self, title: str, *columns: str) -> Table:
        return Table(title, columns, self.until)

    def wait(self) -> None:
        if self.is_gpu:
            torch.cuda.synchronize()

    def seconds(self, run: Callable[[], Any]) -> float:
        self.wait()
        begin = time.perf_counter()
        run()
        self.wait()
        return time.perf_counter() - begin

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((12, 4, 3, 8, 1), (12, 4, 3, 8, 2)) if self.quick else SHAPES

    def trainer(
        self, *callbacks: pl.Callback, steps: int, precision: str = "32-true", folder: str = "", **options: Any
    ) -> pl.Trainer:
        return pl.Trainer(
            accelerator="gpu" if self.is_gpu else "cpu",
            **({"devices": 1, "gradient_clip_val": 1.0} | options),
            max_steps=steps,
            precision=precision,
            callbacks=list(callbacks),
            logger=pl.loggers.TensorBoardLogger(folder) if folder else False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )


class Network(pl.LightningModule):
    """Any layer and a linear head that reads its last output."""

    def __init__(
        self, layer: nn.Module, width: int, packed: bool = False, clock: Callable[[], None] | None = None
    ) -> None:
        super().__init__()
        self.layer, self.head, self.packed, self.clock = layer, nn.Linear(width, 1), packed, clock

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        inputs = batch[0].to(self.head.weight.dtype)
        if self.packed:
            lengths = torch.linspace(2, inputs.shape[1], len(inputs)).int()
            _, final = self.layer(pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False))
            last = torch.cat([*(final[0] if isinstance(final, tuple) else final)][-self.directions :], dim=-1)
        else:
            last = self.layer(inputs)[0][:, -1]
        return self.head(last).float().square().mean()

    @property
    def directions(self) -> int:
        return 2 if self.layer.bidirectional else 1

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.clock is not None:
            self.clock()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def batches(timesteps: int, sequences: int, features: int, steps: int) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(sequences, timesteps, features, generator=generator)
    return DataLoader(TensorDataset(inputs.repeat(min(steps, 4), 1, 1)), batch_size=sequences)


def fits(bench: Bench) -> Table:
    """Lightning fits with the suite and without: the same bits, and what the self-check says."""
    table = bench.table(
        "Eight steps by Lightning, with the suite at each and without. Stacks: two layers, dropout 0.3 between them.",
        "layer",
        *PRECISIONS,
    )
    kinds = (nn.LSTM, nn.GRU, own.PeepholeLSTM, nn.RNN)
    forms = {
        "stack": {"num_layers": 2, "dropout": 0.3},
        "stack, both ways, packed": {"num_layers": 2, "dropout": 0.3, "bidirectional": True},
        "": {},
    }
    for (form, options), kind in itertools.product(forms.items(), kinds):
        with table.row(f"{kind.__name__}{', ' * bool(form)}{form}") as row:
            for precision in PRECISIONS:
                table.check_time()
                row.append(one_pair(bench, kind, options, "packed" in form, precision))
    return table


def one_pair(bench: Bench, kind: type[nn.RNNBase], options: dict[str, Any], packed: bool, precision: str) -> str:
    """Return whether two fits gave the same bits, how many layers were exact, and the largest error and rounding."""
    ends = []
    suite = RNNDiagnostics(every_n_steps=1, max_overhead=None)
    for callbacks in ((), (suite,)):
        torch.manual_seed(0)
        model = Network(
            kind(5, 16, batch_first=True, **options), 16 * (1 + options.get("bidirectional", False)), packed
        )
        trainer = bench.trainer(*callbacks, steps=8, precision=precision)
        try:
            trainer.fit(model, batches(20, 6, 5, 8))
        except Exception as error:
            return f"does not train: {type(error).__name__}"
        ends.append([p.detach().cpu().flatten() for p in model.parameters()])
    same = all(torch.equal(one.view(torch.uint8), other.view(torch.uint8)) for one, other in zip(*ends, strict=True))
    numbers = {tag: value.item() for tag, value in trainer.callback_metrics.items()}
    errors = [value for tag, value in numbers.items() if tag.endswith("/fidelity")]
    rounding = [value for tag, value in numbers.items() if tag.endswith("/rounding")]
    found = f"{len(errors)} checked, {max(errors):.0e}" if errors else "none checked"
    return f"{'same bits' if same else 'OTHER BITS'}, {found}" + (f", rounding {max(rounding):.0e}" if rounding else "")


def rounding(bench: Bench) -> Table:
    """The self-check under every rounding, in a network as it is drawn and in one that expands."""
    table = bench.table(
        "The self-check at 256 units over 200 steps, recurrent weights as drawn and times 2.5: its error; what "
        "rounding makes of the gradient.",
        *("layer", "weights", "float32", "TF32", "bfloat16", "float16"),
    )
    sizes = (8, 16, 20) if bench.quick else (64, 256, 200)
    precisions = ((False, None), (True, None), (False, torch.bfloat16), (False, torch.float16))
    for kind, scale in itertools.product((nn.RNN, nn.LSTM, nn.GRU, own.PeepholeLSTM), (1.0, 2.5)):
        with table.row(kind.__name__, f"× {scale}") as row:
            for precision in precisions:
                table.check_time()
                row.append(checked(bench, kind, scale, sizes, *precision))
    return table


def checked(
    bench: Bench,
    kind: type[nn.RNNBase],
    scale: float,
    sizes: tuple[int, int, int],
    tf32: bool,
    autocast: torch.dtype | None,
) -> str:
    torch.manual_seed(0)
    features, units, steps = sizes
    layer = kind(features, units).to(bench.device)
    with torch.no_grad():
        layer.weight_hh_l0.mul_(scale)
    inputs = torch.randn(steps, 16, features, device=bench.device)
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, tf32
    try:
        with record(layer, sequences=8) as recording:
            with torch.autocast(bench.device.type, autocast, enabled=autocast is not None):
                output, _ = layer(inputs)
            (output[-1].float().square().mean() * 1024).backward()
        trace = recording["l0"]
        shown = "" if trace.rounding is None else f"; {trace.rounding:.1e}"
        return f"{'' if trace.is_faithful else 'NOT FAITHFUL '}{trace.fidelity:.0e}{shown}"
    except RuntimeError as error:
        return type(error).__name__
    finally:
        torch.backends.cudnn.allow_tf32 = before


def suite(bench: Bench) -> Table:
    """What the suite costs: a measured step, the first one, a run with its defaults, and memory."""
    table = bench.table(
        "The suite with TensorBoard; the device is waited for every ten steps. A measured step in bare training steps, "
        "beyond the step itself; the first one in seconds; a run with all defaults over a bare one; peak memory over "
        "bare.",
        *("(T, B, I, H), layers", "bare step, ms", "measured step", "first, s"),
        *("defaults, whole run", "after the first quarter", "memory"),
    )
    for shape in bench.shapes():
        many = 20 if bench.quick else 400 if shape[0] * shape[1] * shape[3] * shape[4] < 10**7 else 60
        with table.row(f"{shape[:4]}, {shape[4]}") as row:
            table.check_time()
            bare, bare_memory = fitted(bench, shape, many)
            step = statistics.median(bare.between(k, k + 10) / 10 for k in range(10, many, 10))
            row.append(f"{1e3 * step:.2f}")
            table.check_time()
            every, memory = fitted(bench, shape, 20, RNNDiagnostics(every_n_steps=1, max_overhead=None))
            row.append(f"{(every.between(10, 20) / 10 - step) / step:.1f}")
            row.append(f"{every.between(0, 1) - bare.between(0, 1):.2f}")
            table.check_time()
            default, _ = fitted(bench, shape, many, RNNDiagnostics())
            quarter = many // 40 * 10 or 10
            row.append(f"× {default.between(0, many) / bare.between(0, many):.2f}")
            row.append(f"× {default.between(quarter, many) / bare.between(quarter, many):.3f}")
            row.append(f"× {memory / bare_memory:.2f}" if bare_memory else "not told")
    return table


class Clock:
    """When the device was done with the first step, and with every ten."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._step = bench, 0
        self._done: dict[int, float] = {}

    def __call__(self) -> None:
        """Take note that a step begins."""
        if self._step == 1 or self._step % 10 == 0:
            self._bench.wait()
            self._done[self._step] = time.perf_counter()
        self._step += 1

    def between(self, start: int, end: int) -> float:
        """Return the seconds from the beginning of one step to that of another."""
        return self._done[end] - self._done[start]


def fitted(bench: Bench, shape: tuple[int, ...], steps: int, *callbacks: pl.Callback) -> tuple[Clock, int]:
    """Return the times of a fit, and its peak memory in bytes."""
    timesteps, sequences, features, units, layers = shape
    clock = Clock(bench)
    torch.manual_seed(0)
    model = Network(nn.LSTM(features, units, num_layers=layers, batch_first=True), units, clock=clock)
    if bench.is_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with TemporaryDirectory() as folder:
        bench.trainer(*callbacks, steps=steps, folder=folder).fit(model, batches(timesteps, sequences, features, steps))
    clock()
    return clock, torch.cuda.max_memory_allocated() if bench.is_gpu else 0


def layers(bench: Bench) -> Table:
    """Own layers by their equations, forwards and backwards, against cuDNN's."""
    table = bench.table(
        "Forward and backward of one layer, waiting for the device, in float32: cuDNN in ms, own layers over cuDNN.",
        *("(T, B, I, H)", "cuDNN LSTM", "cuDNN GRU", "LSTM", "PeepholeLSTM", "GRU"),
    )
    for timesteps, sequences, features, units, _ in bench.shapes()[:4]:
        with table.row((timesteps, sequences, features, units)) as row:
            inputs = torch.randn(timesteps, sequences, features, device=bench.device)
            sizes: dict[str, Any] = {"device": bench.device}
            contenders = {
                "cuDNN LSTM": nn.LSTM(features, units, **sizes),
                "cuDNN GRU": nn.GRU(features, units, **sizes),
                "LSTM": own.LSTM(features, units, backend="explicit", **sizes),
                "PeepholeLSTM": own.PeepholeLSTM(features, units, **sizes),
                "GRU": own.GRU(features, units, backend="explicit", **sizes),
            }
            times: dict[str, list[float]] = {name: [] for name in contenders}
            for repeat in range(5 if bench.quick else 15):
                for name, layer in contenders.items():
                    table.check_time()
                    taken = bench.seconds(partial(trained, layer, inputs))
                    if repeat >= 3:
                        times[name].append(1e3 * taken)
            ms = {name: statistics.median(one) for name, one in times.items()}
            base = {"LSTM": "cuDNN LSTM", "PeepholeLSTM": "cuDNN LSTM", "GRU": "cuDNN GRU"}
            row += [f"{ms['cuDNN LSTM']:.2f}", f"{ms['cuDNN GRU']:.2f}"]
            row += [f"{ms[name] / ms[of]:.2f}" for name, of in base.items()]
    return table


def trained(layer: nn.Module, inputs: Tensor) -> None:
    layer(inputs)[0].sum().backward()


def strategies(bench: Bench) -> Table:
    """Fits on one device and on all of them, each in processes of its own."""
    table = bench.table(
        "Eight steps of a stack of LSTMs with dropout by DDP and FSDP, with the suite at each step and without: the "
        "losses, and the self-check's error.",
        *("strategy", "devices", "found"),
    )
    there = torch.cuda.device_count() if bench.is_gpu else 2
    for strategy, devices in itertools.product(("ddp", "fsdp"), (1, there)):
        with table.row(strategy, devices) as row:
            if there == 1 and (strategy, devices) in {(one, two) for one, two, *_ in table.rows}:
                table.left_out.append(f"{strategy} on several devices: there is one")
                continue
            same, error = one_strategy(bench, table, strategy, devices)
            row.append(f"{'same losses' if same else 'OTHER LOSSES'}, {error:.0e}")
    return table


def one_strategy(bench: Bench, table: Table, strategy: str, devices: int) -> tuple[bool, float]:
    """Return whether losses were the same, and the largest error of the self-check, as rank zero printed them."""
    table.check_time()
    words = [sys.executable, __file__, "--device", bench.device.type, "--fit", strategy, str(devices)]
    started = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        printed, told = started.communicate(timeout=max(1.0, table.until - time.perf_counter()))
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)  # and the ranks that Lightning started from it
        started.communicate()
        raise
    lines = [line for line in printed.splitlines() if line.startswith(FOUND)]
    if not lines:
        errors = [line for line in told.splitlines() if "Error" in line] or told.splitlines() or ["nothing was printed"]
        raise RuntimeError(errors[0].strip())
    same, error = json.loads(lines[0].removeprefix(FOUND))
    return same, error


class Losses(pl.Callback):
    """Every loss of a fit."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *batch: Any) -> None:
        self.losses.append(float(outputs["loss"]))


def fit(bench: Bench, strategy: str, devices: int) -> None:
    """Fit with the suite and without, in this process and those that Lightning starts; print what rank zero found."""
    found, errors = [], []
    for suite in ((), (RNNDiagnostics(every_n_steps=1, max_overhead=None),)):
        torch.manual_seed(0)
        losses, model = Losses(), Network(nn.LSTM(5, 16, 2, batch_first=True, dropout=0.3), 16)
        clip = {"gradient_clip_val": None} if strategy == "fsdp" else {}  # which cannot clip by the norm of all
        trainer = bench.trainer(*suite, losses, steps=8, strategy=strategy, devices=devices, **clip)
        trainer.fit(model, batches(20, 6, 5, 16 * devices))
        found.append(losses.losses)
        errors += [one.item() for tag, one in trainer.callback_metrics.items() if tag.endswith("/fidelity")]
    if trainer.is_global_zero:
        said(FOUND + json.dumps([found[0] == found[1], max(errors)]))


FOUND = "found: "
PARTS = {
    "rounding": (rounding, 25),
    "suite": (suite, 75),
    "fits": (fits, 50),
    "layers": (layers, 25),
    "strategies": (strategies, 60),
}
"""The parts in their order, and the seconds that each may take."""


@contextmanager
def quietly() -> Iterator[None]:
    for name in ("lightning.pytorch", "pytorch_lightning", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, default=235.0, help="for all parts together")
    parser.add_argument("--write", type=Path, help="page whose tables are replaced")
    parser.add_argument("--json", type=Path, help="file to write the tables to")
    parser.add_argument("--fit", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device=cuda; expected a machine with CUDA, of which torch sees none; choices: cuda, cpu")
    if asked.write and not re.search(f"{BEGIN}.*{END}", asked.write.read_text(), re.DOTALL):
        parser.error(f"--write={asked.write}; expected a page with {BEGIN} and {END}")
    bench = Bench(asked.device, asked.quick)
    card = torch.cuda.get_device_name() if bench.is_gpu else "CPU"
    where = f"{card}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, Lightning {pl.__version__}"
    if asked.fit:
        strategy, devices = asked.fit
        with quietly():
            fit(bench, strategy, int(devices))
        return
    print(where, flush=True)
    tables: dict[str, Table] = {}
    for name in asked.only:
        part, seconds = PARTS[name]
        begin = time.perf_counter()
        bench.until = begin + seconds * asked.seconds / sum(one for _, one in PARTS.values())
        with quietly(), redirect_stdout(StringIO()):
            tables[name] = part(bench)
        print(f"{tables[name].end}\n({time.perf_counter() - begin:.0f} s)", flush=True)
        if asked.json:
            found = {name: [one.title, one.columns, *one.rows, one.left_out] for name, one in tables.items()}
            asked.json.write_text(json.dumps({"where": where, "tables": found}))
        if asked.write:
            text = "\n\n".join([BEGIN, f"Measured on: {where}.", *map(str, tables.values()), END])
            page = asked.write.read_text()
            asked.write.write_text(re.sub(f"{BEGIN}.*{END}", lambda _, text=text: text, page, flags=re.DOTALL))


if __name__ == "__main__":
    main()
