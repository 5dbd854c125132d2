"""What a scan saves: a layer forwards and backwards by a scan and by a loop over time, to 100 000 steps.

    python benchmarks/scan.py                 # about two minutes on one core

Prints a table in Markdown: process time of a scan, and that of the loop in scans. The loop is left out where it would
take minutes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from rnn_diag.cells import Equations
from rnn_diag.engine.engine import Engine, Explicit
from rnn_diag.engine.scan import Scan
from rnn_diag.nn import Recurrent
from rnn_diag.nn import function as layer_function

KINDS = ("MinGRUEquations", "MinLSTMEquations", "LRUEquations", "SelectiveEquations")
STEPS = (100, 1_000, 10_000, 100_000)
LONGEST_LOOP = 10_000
BATCH, UNITS, FEATURES = 4, 32, 8


def process_time(run: Callable[[], object], repeats: int) -> float:
    """Return the smallest of several process times, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def trained_by(engine: Engine, kind: str, steps: int, repeats: int) -> float:
    """Return what one forward and backward pass takes."""
    layer_function.training_engine = lambda *_: engine
    torch.manual_seed(0)
    layer = Recurrent(Equations.of(f"rnn_diag.cells.{kind}"), FEATURES, UNITS)
    inputs = torch.randn(steps, BATCH, FEATURES)
    return process_time(lambda: layer(inputs)[0].square().mean().backward(), repeats)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"| recurrence, B = {BATCH}, H = {UNITS} | " + " | ".join(f"T = {steps:,}" for steps in STEPS) + " |")
    print("|---" * (1 + len(STEPS)) + "|")
    for kind in KINDS:
        cells = []
        for steps in STEPS:
            scanned = trained_by(Scan(), kind, steps, repeats=max(2, 3000 // steps))
            cell = f"{1e3 * scanned:.3g} ms"
            if steps <= LONGEST_LOOP:
                cell += f", loop {trained_by(Explicit(), kind, steps, repeats=2) / scanned:.0f}×"
            cells.append(cell)
        print(f"| {kind.removesuffix('Equations')} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
