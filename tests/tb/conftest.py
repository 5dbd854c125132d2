"""A real TensorBoard on the two synthetic runs, and a browser to look at it; skipped where there is none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.screenshots import QUIET, free_port
from tests.tb.page import Tab
from tests.tb.synthetic_runs import write_both

Start = Callable[..., str]


@pytest.fixture(scope="session")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_both(folder)
    return folder


@pytest.fixture(scope="session")
def tensorboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start TensorBoard on a folder, with further arguments; give its address once it has read the log."""
    servers: list[subprocess.Popen[bytes]] = []

    def start(logdir: Path, *arguments: str, python: str = sys.executable, prefix: str = "", runs: int = 0) -> str:
        port = free_port()
        command = [python, "-m", "tensorboard.main", "--logdir", logdir, "--port", str(port), *arguments]
        output = (tmp_path_factory.mktemp("server") / "output").open("wb")
        servers.append(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT))
        address = f"http://127.0.0.1:{port}{prefix}/"
        for _ in range(240):
            try:
                index = urllib.request.urlopen(f"{address}data/plugin/rnn_diag/index", timeout=5).read()
                shown = json.loads(index)["runs"].values()  # of many runs, the names alone
                if sum(tags is None or "rnn_diag/cost" in tags for tags in shown) >= runs:
                    return address
            except OSError:
                pass
            assert servers[-1].poll() is None, Path(output.name).read_text()
            time.sleep(0.25)
        raise AssertionError(f"TensorBoard did not show {runs} runs within a minute: {Path(output.name).read_text()}")

    yield start
    for server in servers:
        server.terminate()
    for server in servers:
        server.wait(timeout=20)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no chromium on this machine")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(QUIET))
        yield opened
        opened.close()


@pytest.fixture
def open_tab(browser: Any) -> Iterator[Callable[..., Tab]]:
    tabs: list[Tab] = []

    def make(address: str, width: int = 1400) -> Tab:
        page = browser.new_page(viewport={"width": width, "height": 900})
        tabs.append(Tab(page))
        return tabs[-1].open(address)

    yield make
    for opened in tabs:
        opened.page.close()
        assert opened.errors == []
        assert {host for host in opened.hosts if host} == {"127.0.0.1"}
        assert opened.policies
        assert all("default-src 'self'" in one and "object-src 'none'" in one for one in opened.policies)


@pytest.fixture(scope="session")
def address(tensorboard: Start, logdir: Path) -> str:
    return tensorboard(logdir, runs=2)
