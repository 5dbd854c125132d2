"""What the gradients and gates of every step cost: recorded from a fused layer, against a loop that retains them.

    python benchmarks/recording.py [--repeats 3] [--json recording.json]

The loop is an `LSTMCell` called step by step with `retain_grad` on every state: the usual way to these numbers. Then
how a recorded step grows with steps, units and sequences, with the peak of the memory that it adds (Linux).
One process, one thread, by turns, processor time, medians of paired ratios.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnn_diag import record

SHAPES = [(100, 64, 128, 256), (784, 32, 1, 128), (100, 20, 32, 64), (500, 16, 64, 128)]
GROWTH = {
    "steps": [(steps, 16, 16, 64) for steps in (100, 1000, 10_000)],
    "units": [(30, 16, 16, units) for units in (128, 512, 2048)],
    "batch": [(50, batch, 16, 128) for batch in (8, 64, 512)],
}
"""What grows, and shapes (T, B, I, H) that differ in it alone."""


def plain(layer: nn.LSTM, inputs: Tensor) -> None:
    layer(inputs)[0][-1].pow(2).mean().backward()
    layer.zero_grad()


def recorded(layer: nn.LSTM, inputs: Tensor, sequences: int | None = None) -> None:
    with record(layer, sequences=sequences) as recording:
        layer(inputs)[0][-1].pow(2).mean().backward()
    trace = recording["l0"]
    _ = trace.hidden_grad, trace.cell_grad, trace.gates
    layer.zero_grad()


def unrolled(cell: nn.LSTMCell, inputs: Tensor) -> None:
    states, state = [], None
    for step in inputs:
        state = cell(step, state)
        for part in state:
            part.retain_grad()
        states.append(state)
    states[-1][0].pow(2).mean().backward()
    _ = [torch.stack([state[k].grad for state in states]) for k in (0, 1)]
    cell.zero_grad()


def seconds(run: Any, *arguments: Any) -> float:
    start = time.process_time()
    run(*arguments)
    return time.process_time() - start


def against_a_loop(shape: tuple[int, int, int, int], repeats: int) -> dict[str, Any]:
    """Return what both ways add to a plain step, for the eight sequences that are followed by default, and for all."""
    steps, batch, features, units = shape
    layer, cell = nn.LSTM(features, units), nn.LSTMCell(features, units)
    inputs = torch.randn(steps, batch, features)
    found = []
    for _ in range(repeats + 1):
        bare = seconds(plain, layer, inputs)
        loop = seconds(unrolled, cell, inputs)
        few, whole = seconds(recorded, layer, inputs, 8), seconds(recorded, layer, inputs, None)
        found.append(
            {"few": loop / max(few - bare, 1e-9), "all": loop / max(whole - bare, 1e-9), "plain": bare, "loop": loop}
        )
    ratios = {key: statistics.median(one[key] for one in found[1:]) for key in found[0]}
    return {"shape": shape} | ratios


def peak_bytes(run: Any, *arguments: Any) -> int:
    """Return by how much a run raises the memory of the process at most."""
    status = Path("/proc/self/status")

    def resident(name: str) -> int:
        return 1024 * int(next(line for line in status.read_text().splitlines() if line.startswith(name)).split()[1])

    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # else memory that was freed before would be taken without being seen
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    run(*arguments)
    return max(resident("VmHWM") - before, 1)


def growth(repeats: int) -> list[dict[str, Any]]:
    """Return seconds and bytes that recording adds, by what grows, with fitted exponents."""
    found = []
    for what, shapes in GROWTH.items():
        points = []
        for steps, batch, features, units in shapes:
            layer, inputs = nn.LSTM(features, units), torch.randn(steps, batch, features)
            pairs = [(seconds(plain, layer, inputs), seconds(recorded, layer, inputs, 8)) for _ in range(repeats + 1)]
            bare = statistics.median(pair[0] for pair in pairs[1:])
            added = statistics.median(pair[1] - pair[0] for pair in pairs[1:])
            memory = [peak_bytes(run, layer, inputs, *rest) for run, rest in ((plain, ()), (recorded, (8,)))]
            points.append({"shape": (steps, batch, features, units), "plain": bare, "added": added, "bytes": memory})
        sizes = [point["shape"][["steps", "batch", "_", "units"].index(what)] for point in points]
        exponents = {
            "seconds": slope(sizes, [max(point["added"], 1e-6) for point in points]),
            "bytes": slope(sizes, [point["bytes"][1] for point in points]),
        }
        found.append({"grows": what, "points": points, "exponents": exponents})
    return found


def slope(sizes: list[int], values: list[float]) -> float:
    """Return the exponent that fits best, in logarithms."""
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in values]
    return statistics.linear_regression(x, y).slope


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    loops = []
    for shape in SHAPES:
        loops.append(against_a_loop(shape, asked.repeats))
        print(
            "{shape}: the loop costs {few:.1f} times what recording 8 sequences adds, {all:.1f} times all".format(
                **loops[-1]
            )
        )
    grown = growth(asked.repeats)
    for one in grown:
        print("with {grows}: exponents {exponents}".format(**one))
    if asked.json:
        asked.json.write_text(json.dumps({"loops": loops, "growth": grown}, indent=1))


if __name__ == "__main__":
    main()
