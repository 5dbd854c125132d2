"""What ten minutes with a GPU can tell: is training untouched, are the numbers right, and what do they cost.

    python benchmarks/gpu.py [--write docs/gpu.md] [--json FILE] [--only fits rounding suite layers]

Every part prints its table as soon as it is done, and all of them together take less than four minutes. `--write`
replaces the tables of the page. `--device cpu --quick` goes through the same code anywhere and says nothing of a GPU.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import re
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
    """What one part found."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[Any]] = field(default_factory=list)

    def add(self, *row: Any) -> None:
        self.rows.append(row)

    def __str__(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return f"{self.title}\n\n" + "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


class Bench:
    """The device, and how long things take on it."""

    def __init__(self, device: str, quick: bool) -> None:
        self.device, self.quick = torch.device(device), quick
        self.is_gpu = self.device.type == "cuda"

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

    def trainer(self, *callbacks: pl.Callback, steps: int, precision: str = "32-true", folder: str = "") -> pl.Trainer:
        return pl.Trainer(
            accelerator="gpu" if self.is_gpu else "cpu",
            devices=1,
            max_steps=steps,
            precision=precision,
            callbacks=list(callbacks),
            logger=pl.loggers.TensorBoardLogger(folder) if folder else False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            gradient_clip_val=1.0,
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
    table = Table(
        "Eight steps by Lightning, with the suite at each and without. Stacks: two layers, dropout 0.3 between them.",
        ("layer", *PRECISIONS),
    )
    kinds = (nn.LSTM, nn.GRU, nn.RNN, own.PeepholeLSTM)
    forms = {
        "": {},
        "stack": {"num_layers": 2, "dropout": 0.3},
        "stack, both ways, packed": {"num_layers": 2, "dropout": 0.3, "bidirectional": True},
    }
    for kind, (form, options) in itertools.product(kinds, forms.items()):
        table.add(
            f"{kind.__name__}{', ' * bool(form)}{form}",
            *(one_pair(bench, kind, options, "packed" in form, p) for p in PRECISIONS),
        )
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
    table = Table(
        "The self-check at 256 units over 200 steps, recurrent weights as drawn and times 2.5: its error; what "
        "rounding makes of the gradient.",
        ("layer", "weights", "float32", "TF32", "bfloat16", "float16"),
    )
    sizes = (8, 16, 20) if bench.quick else (64, 256, 200)
    for kind, scale in itertools.product((nn.RNN, nn.LSTM, nn.GRU, own.PeepholeLSTM), (1.0, 2.5)):
        table.add(
            kind.__name__,
            f"× {scale}",
            *(
                checked(bench, kind, scale, sizes, *p)
                for p in ((False, None), (True, None), (False, torch.bfloat16), (False, torch.float16))
            ),
        )
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
    table = Table(
        "The suite with TensorBoard. A measured step in bare training steps, beyond the step itself; the first one in "
        "seconds; a run with all defaults over a bare one; peak memory over bare.",
        (
            "(T, B, I, H), layers",
            "bare step, ms",
            "measured step",
            "first, s",
            "defaults, whole run",
            "after the first 100 steps",
            "memory",
        ),
    )
    for shape in bench.shapes():
        many = 12 if bench.quick else 400 if shape[0] * shape[1] * shape[3] * shape[4] < 10**7 else 60
        bare, bare_memory = fitted(bench, shape, many)
        every, memory = fitted(bench, shape, 14, RNNDiagnostics(every_n_steps=1, max_overhead=None))
        default, _ = fitted(bench, shape, many, RNNDiagnostics())
        step = statistics.median(bare[2:])
        measured = (sum(every[3:]) / len(every[3:]) - step) / step
        share = sum(default) / sum(bare)
        later = sum(default[many // 4 :]) / sum(bare[many // 4 :])
        table.add(
            f"{shape[:4]}, {shape[4]}", f"{1e3 * step:.2f}", f"{measured:.1f}", f"{every[0] - bare[0]:.2f}",
            f"× {share:.2f}", f"× {later:.3f}", f"× {memory / max(bare_memory, 1):.2f}",
        )  # fmt: skip
    return table


def fitted(bench: Bench, shape: tuple[int, ...], steps: int, *callbacks: pl.Callback) -> tuple[list[float], int]:
    """Return seconds of every step of a fit, the device waited for at the ends of ten, and its peak memory in bytes."""
    timesteps, sequences, features, units, layers = shape
    starts: list[float] = []

    def clock() -> None:
        bench.wait()
        starts.append(time.perf_counter())

    torch.manual_seed(0)
    model = Network(nn.LSTM(features, units, num_layers=layers, batch_first=True), units, clock=clock)
    if bench.is_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with TemporaryDirectory() as folder:
        bench.trainer(*callbacks, steps=steps, folder=folder).fit(model, batches(timesteps, sequences, features, steps))
    clock()
    memory = torch.cuda.max_memory_allocated() if bench.is_gpu else 0
    return [after - before for before, after in itertools.pairwise(starts)], memory


def layers(bench: Bench) -> Table:
    """Own layers by their equations, forwards and backwards, against cuDNN's."""
    table = Table(
        "Forward and backward of one layer, waiting for the device, in float32: cuDNN in ms, own layers over cuDNN.",
        ("(T, B, I, H)", "cuDNN LSTM", "cuDNN GRU", "LSTM", "PeepholeLSTM", "GRU"),
    )
    for timesteps, sequences, features, units, _ in bench.shapes()[:4]:
        inputs = torch.randn(timesteps, sequences, features, device=bench.device)
        sizes = partial(dict, device=bench.device)
        contenders = {
            "cuDNN LSTM": nn.LSTM(features, units, **sizes()),
            "cuDNN GRU": nn.GRU(features, units, **sizes()),
            "LSTM": own.LSTM(features, units, backend="explicit", **sizes()),
            "PeepholeLSTM": own.PeepholeLSTM(features, units, **sizes()),
            "GRU": own.GRU(features, units, backend="explicit", **sizes()),
        }
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for repeat in range(5 if bench.quick else 15):
            for name, layer in contenders.items():
                taken = bench.seconds(partial(trained, layer, inputs))
                if repeat >= 3:
                    times[name].append(1e3 * taken)
        ms = {name: statistics.median(one) for name, one in times.items()}
        base = {"LSTM": "cuDNN LSTM", "PeepholeLSTM": "cuDNN LSTM", "GRU": "cuDNN GRU"}
        table.add(
            (timesteps, sequences, features, units), f"{ms['cuDNN LSTM']:.2f}", f"{ms['cuDNN GRU']:.2f}",
            *(f"{ms[name] / ms[of]:.2f}" for name, of in base.items()),
        )  # fmt: skip
    return table


def trained(layer: nn.Module, inputs: Tensor) -> None:
    layer(inputs)[0].sum().backward()


PARTS = {"fits": fits, "rounding": rounding, "suite": suite, "layers": layers}


@contextmanager
def quietly() -> Iterator[None]:
    for name in ("lightning.pytorch", "pytorch_lightning", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--write", type=Path, help="page whose tables are replaced")
    parser.add_argument("--json", type=Path, help="file to write the tables to")
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device=cuda; expected a machine with CUDA, of which torch sees none; choices: cuda, cpu")
    bench = Bench(asked.device, asked.quick)
    card = torch.cuda.get_device_name() if bench.is_gpu else "CPU"
    where = f"{card}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}, Lightning {pl.__version__}"
    print(where, flush=True)
    tables = {}
    for name in asked.only:
        begin = time.perf_counter()
        with quietly():
            tables[name] = PARTS[name](bench)
        print(f"\n{tables[name]}\n({time.perf_counter() - begin:.0f} s)", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps({"where": where, "tables": {name: vars(one) for name, one in tables.items()}}))
    if asked.write:
        page = asked.write.read_text()
        text = "\n\n".join([BEGIN, f"Measured on: {where}.", *map(str, tables.values()), END])
        if not re.search(f"{BEGIN}.*{END}", page, re.DOTALL):
            parser.error(f"--write={asked.write}; expected a page with {BEGIN} and {END}")
        asked.write.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: text, page, flags=re.DOTALL))


if __name__ == "__main__":
    main()
