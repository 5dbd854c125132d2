"""Write docs/performance.md from what the other benchmarks measured.

for name in layers recording suite overhead; do python benchmarks/$name.py --json measured/$name.json; done
python benchmarks/report.py measured docs/performance.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

HEAD = """# What it costs

Made by `python benchmarks/report.py` from the JSON of `benchmarks/layers.py`, `recording.py`, `suite.py` and
`overhead.py`, on a CPU: one thread, float32, processor time, everything compared in one process and by turns.
These are of two cores that other programs kept busy, with two to sixteen repeats: ratios vary by a tenth or two from
run to run, and seconds by more. For GPUs see [gpu.md](gpu.md). Shapes are (steps, sequences, features, units).
"""
LAYERS = """
## Own layers against torch's

Forward and backward with `backend="explicit"`, as a multiple of torch's layer (of `nn.LSTM` for the peephole LSTM,
which torch lacks) and of the layer's matrix products alone, taken step by step as the recurrence needs them.
"""
LAYERS_WHY = """
Torch's LSTM on a CPU is oneDNN's: one call for all steps, weights packed once, its own sigmoid and tanh. Ours is some
ten calls a step. Where a step is large its time is that of the products, which MKL takes at the same speed whichever
way; where it is small (20 sequences of 64 units: 36 microseconds of products), a call's own microsecond or two is
what is left. oneDNN's packed products are private in torch, and sigmoids in place of tanh (four times faster there)
are wrong near zero in single precision. GRU and RNN have no kernel of oneDNN's.
"""
SUITE = """
## A measured step

What `RNNDiagnostics` with TensorBoard adds to one training step, in training steps of the same shape: the first time
(the whole batch is checked, pictures are drawn, the log is opened), and the steps after it, on average over eight or
more, pictures and spectra included. The background's work (eigenvalues, pictures, encoding) is counted; a run waits for
it only where it has no processor to spare. The loss is of the last step. `max_overhead=0.02` then says how often: at a
cost of half a step, every twenty-fifth.
"""
SUITE_WHY = """
Where a goal is missed: exact eigenvalues and singular values of every block take 0.05 s for 256 units and 0.45 s for
512, in the background, at every fourth measured step; Krylov spaces are no faster before 512 units, where the package
goes over to them. Of small layers (64 units) a training step takes ten milliseconds: the backward loop over eight
sequences alone is six small operations a step of time, as long as the training step itself, and the rest is the fixed
cost of a few hundred small operations, of pictures, and of writing the log. The plain step itself varies by a quarter
on a machine that others use: the first row was between 0.47 and 0.86 in six runs.
"""
OVERHEAD = """
## A run

One LSTM of 64 units, 32 sequences of 100 steps, `RNNDiagnostics(every_n_steps=1)` and `Doctor(every_n_steps=1)` with
`max_overhead=0.02`, a minute long: the share of the processor's time in windows of 150 steps after the first. Then 400
steps of (100, 20, 32, 64) with the defaults against the same without any callback: as a whole, with the first measured
step (imports, programs that are written once, the check of the whole batch) and the last pictures, and without its
first ten steps.
"""
OVERHEAD_WHY = """
The 400 steps take five seconds. The first measured step, once for a run, is most of what they take longer; a single
later one and the pictures at the end are the rest, more than 2 % of so short a run. On a busy machine measuring is
rarer than it might be: what it costs is told by the clock.
Ratios of whole runs of five seconds vary by more than what is measured (1.00 to 1.09 here). Added up step by step, a
run of 400 steps has 0.09 s for the first measured step, 0.06 s for the other that fits the share, and 0.06 to 0.12 s
for the last pictures: 4 % of it, of which half comes once.
"""
LOOPS = """
## Recording against a loop that retains gradients

An unrolled `LSTMCell` with `retain_grad` on every state gives the same gradients. Its whole cost, over what recording
adds to a step of the fused layer, for the eight sequences that are followed by default and for all of them.
"""
GROWTH = """
## Growth

What a recorded step with eight followed sequences adds, as one size grows, with the exponent that fits best; the peak
of memory is that of a plain step and of a recorded one. An LSTM of 1024 units trains with the suite on 32 sequences of
5000 steps where it trains without: 14.4 GB of resident memory at the peak of the first measured step, which runs some
sequences once more in double precision, for 9.5 GB; that step takes five training steps longer.
"""


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n" + "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def against(value: float, goal: float | None) -> str:
    """Return a number with its goal, and whether that is reached."""
    if goal is None:
        return f"{value:.2f}"
    return f"{value:.2f} ({'≤' if value <= goal else 'goal'} {goal:g})"


def of_shape(shape: Sequence[int]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"


def layers(found: list[dict[str, Any]]) -> str:
    rows = [
        (
            one["layer"],
            of_shape(one["shape"]),
            f"{1000.0 * one['seconds']['own']:.0f} ms",
            against(one["to_torch"], one["goal"]),
            f"{one['to_products']:.2f}",
        )
        for one in found
    ]
    return (
        LAYERS + table(("layer", "shape", "forward and backward", "of torch's", "of its products"), rows) + LAYERS_WHY
    )


def suite(found: list[dict[str, Any]]) -> str:
    rows = [
        (
            one["shape"],
            f"{one['plain_seconds']:.3f} s",
            f"{one['first']:.2f}",
            against(one["later"], one["goal"]),
            f"{one['milliseconds']:.0f}",
            f"{one['bytes'] / 1000:.0f} kB",
        )
        for one in found
    ]
    columns = ("layer", "plain step", "first measured step adds", "later ones add", "milliseconds", "logged a step")
    return SUITE + table(columns, rows) + SUITE_WHY


def overhead(found: dict[str, Any]) -> str:
    shares, defaults = found["windows"]["shares"], found["defaults"]
    rows = [
        ("largest of the windows", f"{100 * max(shares):.1f} %", "3 %"),
        ("mean of the windows", f"{100 * sum(shares) / len(shares):.1f} %", "2 %"),
        ("400 steps with defaults", f"{defaults['whole']:.3f}", "1.03"),
        ("after the first ten", f"{defaults['later']:.3f}", "1.02"),
    ]
    return OVERHEAD + table(("", "measured", "goal"), rows) + OVERHEAD_WHY


def recording(found: dict[str, Any]) -> str:
    loops = [
        (
            of_shape(one["shape"]),
            f"{one['plain']:.3f} s",
            f"{one['loop']:.3f} s",
            f"{one['few']:.1f}",
            f"{one['all']:.1f}",
        )
        for one in found["loops"]
    ]
    points = []
    for one in found["growth"]:
        for point in one["points"]:
            plain, recorded = (f"{size / 2**20:.0f}" for size in point["bytes"])
            points.append(
                (
                    one["grows"],
                    of_shape(point["shape"]),
                    f"{point['plain']:.3f} s",
                    f"{point['added']:.3f} s",
                    f"{plain}, {recorded} MiB",
                )
            )
        exponents = one["exponents"]
        points.append(
            (one["grows"], "exponent", "", f"{exponents['seconds']:.2f}", f"{exponents['bytes']:.2f} (recorded)")
        )
    return (
        LOOPS
        + table(("shape", "plain step", "loop", "loop over 8 sequences recorded", "over all"), loops)
        + GROWTH
        + table(("grows", "shape", "plain step", "recording adds", "peak memory"), points)
    )


def main(folder: Path, page: Path) -> None:
    parts = {"layers": layers, "suite": suite, "overhead": overhead, "recording": recording}
    written = [part(json.loads((folder / f"{name}.json").read_text())) for name, part in parts.items()]
    page.write_text(HEAD + "".join(written))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
