"""What the tab costs with many runs: the server's memory and answers, and the time until the tab is drawn.

    python benchmarks/many_runs.py [--runs 1000] [--layers 20] [--steps 2000] [--json many_runs.json]

One run holds every series at as many of its measured steps as a training would write; it is written once, and a
hundred runs are links to it. The others end at the same step and hold three: TensorBoard would keep a thousand steps of
every series in memory, ours or not, and no machine here has so much. Two log folders are compared, too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from rnn_diag.callbacks.session.thinning import Thinning
from rnn_diag.tb import kinds as tab
from scripts.screenshots import QUIET, free_port

GATES = ("input", "forget", "output")
WHOLE = 10
"""Runs that hold all steps that a training would write."""


def write(folder: Path, layers: int, steps: Sequence[int]) -> None:
    """Write one run: profiles, gates, horizons and spectra of every layer."""
    with SummaryWriter(str(folder)) as log:
        for step in steps:
            tab.write_cost(log, step, 2.0, 0.01)
            for number in range(layers):
                layer = f"encoder.{number}.l0"
                tab.write_gradients(log, layer, step, np.linspace(-9, -2, 64), cell="lstm")
                tab.write_influence(log, layer, step, np.linspace(0, -3, 64))
                tab.write_horizon(log, layer, step, [20.0, 10.0, 30.0])
                tab.write_gates(log, layer, step, dict.fromkeys(GATES, np.full((3, 64), 0.5)))
                tab.write_gate_units(log, layer, step, dict.fromkeys(GATES, np.full((3, 64), 0.5)))


def many(folder: Path, runs: int, layers: int, steps: int) -> None:
    """Make a log folder of many runs."""
    thinning = Thinning()
    chosen = [50 * step for step in range(steps) if thinning.chooses({}) or step == steps - 1]
    write(folder / "whole", layers, chosen)
    write(folder / "short", layers, [chosen[0], chosen[1], chosen[-1]])
    for number in range(runs):
        (source,) = (folder / ("whole" if number < WHOLE else "short")).iterdir()
        run = folder / f"run_{number:04d}"
        run.mkdir()
        os.link(source, run / source.name)
    shutil.rmtree(folder / "whole")
    shutil.rmtree(folder / "short")


@contextmanager
def served(*arguments: str) -> Iterator[tuple[str, int]]:
    """Run TensorBoard; give its address and process."""
    port = free_port()
    command = [sys.executable, "-m", "tensorboard.main", "--port", str(port), "--reload_interval", "600", *arguments]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/", server.pid
    finally:
        server.terminate()
        server.wait(30)


def fetched(url: str) -> tuple[float, bytes]:
    began = time.perf_counter()
    with urllib.request.urlopen(url, timeout=300) as answer:
        return time.perf_counter() - began, answer.read()


def wait_for(address: str, runs: int, seconds: float = 900) -> float:
    """Wait until TensorBoard has read all runs; return how long that took."""
    began, before = time.perf_counter(), b""
    while time.perf_counter() - began < seconds:
        try:
            now = fetched(f"{address}data/plugin/rnn_diag/index")[1]
            if len(json.loads(now)["runs"]) >= runs and now == before:
                return time.perf_counter() - began
            before = now
        except OSError:
            pass
        time.sleep(2)
    raise TimeoutError(f"{runs} runs were not read in {seconds:g} s")


def memory(process: int) -> float:
    """Return the megabytes that a process and its children hold."""
    total = 0.0
    for one in [process, *map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())]:
        status = Path(f"/proc/{one}/status").read_text()
        total += int(status.split("VmRSS:")[1].split()[0]) / 1024
    return total


def drawn(address: str, picture: Path | None) -> tuple[float, float]:
    """Return the seconds from choosing the tab to its being drawn, and those after its own page was asked for."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.goto(f"{address}#text")
        page.wait_for_selector("tb-webapp", timeout=120_000)
        time.sleep(3)  # TensorBoard itself is loaded
        began = time.perf_counter()
        page.evaluate("() => { window.location.hash = 'rnn_diag'; }")
        body = page.frame_locator("iframe").locator("body[data-ready]")
        body.wait_for(timeout=120_000)
        seconds = time.perf_counter() - began
        own = float(body.evaluate("() => performance.getEntriesByName('rnn_diag drawn')[0].startTime")) / 1e3
        if picture:
            page.screenshot(path=str(picture))
        browser.close()
    return seconds, own


def measured(runs: int, picture: Path | None, *arguments: str) -> dict[str, Any]:
    with served(*arguments) as (address, process):
        loading = wait_for(address, runs)
        index, content = fetched(f"{address}data/plugin/rnn_diag/index")
        series = f"{address}data/plugin/rnn_diag/series?run=run_0000&tag=rnn_diag/encoder.0.l0/grad"
        one, rows = fetched(series) if runs > 1 and "spec" not in " ".join(arguments) else (0.0, b"")
        return {
            "loading": loading,
            "index_seconds": index,
            "index_megabytes": len(content) / 1e6,
            "series_seconds": one,
            "series_megabytes": len(rows) / 1e6,
            "tab_seconds": drawn(address, picture),  # chosen, and asked for
            "memory_megabytes": memory(process),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--steps", type=int, default=2000, help="measured steps of a run")
    parser.add_argument("--only", help="one of the ways to start TensorBoard, such as --only=--load_fast=true")
    parser.add_argument("--picture", type=Path, help="where to put a picture of the tab")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found: dict[str, Any] = {"runs": asked.runs, "layers": asked.layers, "steps": asked.steps}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        many(log, asked.runs, asked.layers, asked.steps)
        found["whole_run_megabytes"] = sum(one.stat().st_size for one in (log / "run_0000").iterdir()) / 1e6
        ways = {"--load_fast=true": ["--logdir", str(log), "--load_fast=true"]}
        ways["--load_fast=false"] = ["--logdir", str(log), "--load_fast=false"]
        spec = f"a:{log}/run_0000,b:{log}/run_0001"
        ways["--logdir_spec"] = ["--logdir_spec", spec]
        for name, arguments in ways.items() if not asked.only else [(asked.only, ways[asked.only])]:
            found[name] = measured(2 if "spec" in name else asked.runs, asked.picture, *arguments)
            print(name, found[name], flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
