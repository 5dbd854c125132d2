"""How long forward and backward of our layers take: against torch's, and against their matrix products alone.

    python benchmarks/layers.py [--device cuda] [--repeats 5] [--json layers.json]

All take turns in one process, on one thread; times are processor time on a CPU, and ratios medians of paired ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnn_diag import nn as ours

SHAPES = [(100, 64, 128, 256), (784, 32, 1, 128), (100, 20, 32, 64), (500, 16, 64, 128)]
LAYERS: dict[str, tuple[type[nn.RNNBase], tuple[float | None, ...]]] = {
    "LSTM": (nn.LSTM, (1.0, 1.0, 1.5, 1.5)),
    "PeepholeLSTM": (nn.LSTM, (1.0, 1.0, 1.5, 1.5)),
    "GRU": (nn.GRU, (0.9, 0.9, 0.9, 0.9)),
    "RNN": (nn.RNN, (None, None, None, None)),
}
"""Torch's layer to compare with (for peepholes the LSTM, which has none), and the goal for each shape."""


def train(layer: nn.Module, inputs: Tensor) -> None:
    layer(inputs)[0].sum().backward()
    layer.zero_grad()


def products(layer: nn.RNNBase, inputs: Tensor) -> None:
    """Take the matrix products of one forward and backward pass, and nothing else."""
    with torch.no_grad():
        weight, back = layer.weight_hh_l0, inputs.new_zeros(inputs.shape[1], layer.hidden_size)
        gates = inputs @ layer.weight_ih_l0.T
        for step in gates:
            torch.mm(back, weight.T, out=step)
        for step in gates:
            torch.mm(step, weight, out=back)
        flat, states = gates.flatten(0, 1), inputs.new_zeros(len(gates) * inputs.shape[1], layer.hidden_size)
        _ = inputs.flatten(0, 1).T @ flat, states.T @ flat


def seconds(run: Callable[[], None], device: str) -> float:
    clock = time.process_time if device == "cpu" else time.perf_counter
    start = clock()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start


def compared(name: str, shape: tuple[int, int, int, int], repeats: int, device: str) -> dict[str, Any]:
    """Return medians of seconds, and of the ratios of runs that followed each other."""
    steps, batch, features, units = shape
    inputs = torch.randn(steps, batch, features, device=device)
    own = getattr(ours, name)(features, units, backend="explicit", device=device)
    runs = {
        "own": partial(train, own, inputs),
        "torch": partial(train, LAYERS[name][0](features, units, device=device), inputs),
        "products": partial(products, own, inputs),
    }
    taken = [{key: seconds(run, device) for key, run in runs.items()} for _ in range(repeats + 2)][2:]
    return {
        "layer": name,
        "shape": shape,
        "seconds": {key: statistics.median(one[key] for one in taken) for key in runs},
        "to_torch": statistics.median(one["own"] / one["torch"] for one in taken),
        "to_products": statistics.median(one["own"] / one["products"] for one in taken),
        "goal": LAYERS[name][1][SHAPES.index(shape)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for shape in SHAPES:
        for name in LAYERS:
            found.append(compared(name, shape, asked.repeats, asked.device))
            print("{layer:13} {shape}: to torch {to_torch:.2f}, to products {to_products:.2f}".format(**found[-1]))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
