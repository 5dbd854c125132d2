"""What the tab costs: bytes and milliseconds for a logged step, TensorBoard's start, and the time until it is drawn.

    python benchmarks/dashboard.py            # the browser's part needs Chromium and playwright

Prints a table in Markdown. Each time is the median of several; ratios are to eight plain scalars.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from rnn_diag.tb import kinds as tab
from scripts.screenshots import QUIET, tensorboard

REPEATS = 100
STARTS = 9
TIMESTEPS = 500
UNITS = 256
GATES = ("input", "forget", "candidate", "output")

Write = Callable[[SummaryWriter, int], None]


def eight_scalars(log: SummaryWriter, step: int) -> None:
    for place in range(8):
        log.add_scalar(f"gradient_norms/encoder.l0/{place}", float(step), step)


def profile(log: SummaryWriter, step: int) -> None:
    tab.write_gradients(log, "encoder.l0", step, np.linspace(-9, -2, TIMESTEPS), cell="lstm")


def profile_and_gates(log: SummaryWriter, step: int) -> None:
    profile(log, step)
    tab.write_gates(log, "encoder.l0", step, dict.fromkeys(GATES, np.full((3, TIMESTEPS), 0.5)))


def units_and_spectra(log: SummaryWriter, step: int) -> None:
    tab.write_gate_units(log, "encoder.l0", step, dict.fromkeys(GATES, np.full((3, UNITS), 0.5)))
    tab.write_eigenvalues(log, "encoder.l0", step, np.exp(1j * np.arange(128)))
    tab.write_singular_values(log, "encoder.l0", step, np.ones(64))
    tab.write_lyapunov(log, "encoder.l0", step, np.ones(16))


def cost_of(write: Write) -> tuple[float, float]:
    """Return milliseconds and bytes of one logged step, until it is in the file."""
    with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as log:

        def size() -> int:
            log.flush()
            return sum(file.stat().st_size for file in Path(folder).iterdir())

        write(log, 0)  # The first event of a tag also holds its description.
        before, times = size(), []
        for step in range(1, REPEATS + 1):
            start = time.perf_counter()
            write(log, step)
            log.flush()
            times.append(time.perf_counter() - start)
        return 1e3 * statistics.median(times), (size() - before) / REPEATS


def processor_time_at_start() -> dict[str, float]:
    """Return what TensorBoard takes until it serves an empty folder, with the tab and without, in turn.

    In milliseconds of processor time, which other work on the machine does not change.
    """
    code = (
        "import sys, time\n"
        "from tensorboard import default, program\n"
        "plugins = default.get_plugins()\n"
        "plugins = [one for one in plugins if sys.argv[2] == 'with' or 'rnn_diag' not in str(one)]\n"
        "board = program.TensorBoard(plugins)\n"
        "board.configure(argv=['tensorboard', '--logdir', sys.argv[1], '--port', '0', '--load_fast=false'])\n"
        "board.launch()\n"
        "print(1e3 * time.process_time())"
    )
    times: dict[str, list[float]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(STARTS):
            for which, found in times.items():
                command = [sys.executable, "-c", code, folder, which]
                found.append(float(subprocess.check_output(command, stderr=subprocess.DEVNULL)))
    return {
        f"TensorBoard's start {which} the tab, processor time": statistics.median(found)
        for which, found in times.items()
    }


def milliseconds_in_browser(folder: Path) -> dict[str, float]:
    """Return the time from opening the address to the picture, and of drawing the heat map alone."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    scalars, opened, ready, drawn = [], [], [], []
    mark = "() => performance.getEntriesByName('rnn_diag drawn')[0].startTime"
    draw = """async () => {
      const { fetchSeries } = await import('./static/api.js');
      const { rasterise } = await import('./static/raster.js');
      const { pictureOf } = await import('./static/gradients.js');
      const grad = await fetchSeries('run', 'rnn_diag/l0/grad', 999);
      const picture = pictureOf({ name: 'run', series: { grad } }, true, [-8, 4]);
      const start = performance.now();
      rasterise(grad.steps, { width: 1000, height: 512, longest: 512, ...picture });
      return performance.now() - start;
    }"""
    with tensorboard(folder) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        for _ in range(5):
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            start = time.perf_counter()
            page.goto(f"{address}#timeseries")
            page.locator("card-view line-chart").first.wait_for()
            scalars.append(1e3 * (time.perf_counter() - start))
            page.close()
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            start = time.perf_counter()
            page.goto(f"{address}#rnn_diag")
            body = page.frame_locator("iframe").locator("body[data-ready]")
            body.wait_for()
            opened.append(1e3 * (time.perf_counter() - start))
            ready.append(float(body.evaluate(mark)))
            drawn.append(float(body.evaluate(draw)))
            page.close()
        browser.close()
    return {
        "open the address until TensorBoard has drawn eight plain scalars": statistics.median(scalars),
        "open the address until the tab is drawn": statistics.median(opened),
        "of that after the tab's own page was asked for": statistics.median(ready),
        "the heat map of 1000 steps × 512 timesteps alone": statistics.median(drawn),
    }


def write_large_run(folder: Path) -> None:
    with SummaryWriter(str(folder / "run")) as log:
        for step in range(1000):
            eight_scalars(log, step)
            tab.write_gradients(log, "l0", step, np.linspace(-9, -2, 512), bins=512)


def rows() -> list[tuple[str, str, str, str]]:
    kinds: dict[str, Write] = {
        "eight plain scalars": eight_scalars,
        "gradient profile": profile,
        "gradient profile and gates over time": profile_and_gates,
        "units, eigenvalues, singular values, exponents (rarer)": units_and_spectra,
    }
    costs = {name: cost_of(write) for name, write in kinds.items()}
    base = costs["eight plain scalars"]
    return [
        (name, f"{size:.0f}", f"{milliseconds:.2f}", f"{size / base[1]:.1f} / {milliseconds / base[0]:.1f}")
        for name, (milliseconds, size) in costs.items()
    ]


def show(header: tuple[str, ...], lines: list[tuple[Any, ...]]) -> None:
    for line in [header, ("---",) * len(header), *lines]:
        print("| " + " | ".join(map(str, line)) + " |")
    print()


def main() -> None:
    show(("written for one layer and step", "bytes", "ms", "ratio of bytes / ms"), rows())
    times = processor_time_at_start()
    with tempfile.TemporaryDirectory() as folder:
        write_large_run(Path(folder))
        times |= milliseconds_in_browser(Path(folder))
    show(("time", "ms"), [(name, f"{value:.0f}") for name, value in times.items()])


if __name__ == "__main__":
    main()
