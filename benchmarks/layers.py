"""How long forward and backward take: the explicit equations, torch's fused kernel, and a loop over torch's cell.

    python benchmarks/layers.py [--device cuda] [--repeats 7]

Times are the median of interleaved repeats, so that a busy machine slows all three alike; compare the ratios.
On one busy CPU core, torch 2.13:

    layer    T   B    H |     fused  explicit cell loop | explicit / fused, / loop
    LSTM   100  32  128 |   50.4 ms   98.2 ms  108.0 ms | 1.95, 0.91
    LSTM   200   8   64 |   15.1 ms  105.2 ms  118.9 ms | 6.99, 0.88
    GRU    100  32  128 |   93.7 ms  110.6 ms  112.8 ms | 1.18, 0.98
    GRU    200   8   64 |   87.8 ms  113.3 ms  124.1 ms | 1.29, 0.91
    RNN    100  32  128 |   40.3 ms   48.6 ms   56.8 ms | 1.20, 0.86

The fused CPU kernel of the LSTM is oneDNN's; those of the GRU and the RNN are loops over steps as well.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from rnn_diag import nn as ours

CASES = [
    ("LSTM", 100, 32, 128),
    ("LSTM", 200, 8, 64),
    ("GRU", 100, 32, 128),
    ("GRU", 200, 8, 64),
    ("RNN", 100, 32, 128),
]
FEATURES = 32


def train(layer: nn.Module, inputs: Tensor) -> None:
    layer(inputs)[0].sum().backward()


def train_loop(cell: nn.Module, inputs: Tensor) -> None:
    state, outputs = None, []
    for step in inputs:
        state = cell(step, state)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    torch.stack(outputs).sum().backward()


def contenders(name: str, units: int, inputs: Tensor) -> dict[str, Callable[[], None]]:
    options = {"device": inputs.device}
    return {
        "fused": partial(train, getattr(ours, name)(FEATURES, units, backend="fused", **options), inputs),
        "explicit": partial(train, getattr(ours, name)(FEATURES, units, backend="explicit", **options), inputs),
        "cell loop": partial(train_loop, getattr(nn, f"{name}Cell")(FEATURES, units, **options), inputs),
    }


def medians(runs: dict[str, Callable[[], None]], repeats: int, device: str) -> dict[str, float]:
    """Return milliseconds of each run, the runs taking turns."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 2):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if device == "cuda":
                torch.cuda.synchronize()
            if repeat >= 2:  # the first two warm up
                taken[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    print("layer    T   B    H |     fused  explicit cell loop | explicit / fused, / loop")
    for name, steps, batch, units in CASES:
        inputs = torch.randn(steps, batch, FEATURES, device=asked.device)
        ms = medians(contenders(name, units, inputs), asked.repeats, asked.device)
        shown = " ".join(f"{ms[key]:6.1f} ms" for key in ("fused", "explicit", "cell loop"))
        ratios = f"{ms['explicit'] / ms['fused']:4.2f}, {ms['explicit'] / ms['cell loop']:4.2f}"
        print(f"{name:5} {steps:4} {batch:3} {units:4} | {shown} | {ratios}")


if __name__ == "__main__":
    main()
