"""A real TensorBoard shows the tab: both loaders, all the steps, beneath a prefix, and from a wheel without torch."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard_data_server import server_binary
from torch.utils.tensorboard import SummaryWriter

from rnn_diag.tb import kinds as tab
from tests.tb.conftest import Start
from tests.tb.serving import decode

pytestmark = pytest.mark.slow
LOADERS = [
    pytest.param("true", marks=pytest.mark.skipif(server_binary() is None, reason="no fast loader for this platform")),
    "false",
]


def fetch(address: str, route: str) -> bytes:
    with urllib.request.urlopen(f"{address}data/{route}", timeout=30) as answer:
        return bytes(answer.read())


@pytest.mark.parametrize("fast", LOADERS)
def test_three_hundred_steps_are_all_kept_and_the_tab_is_listed(tmp_path: Path, tensorboard: Start, fast: str) -> None:
    with SummaryWriter(str(tmp_path / "run")) as log:
        for step in range(300):
            tab.write_gradients(log, "l0", step, np.full(5, -step / 16))
        tab.write_cost(log, 300, 1.0, 0.01)
    address = tensorboard(tmp_path, f"--load_fast={fast}", runs=1)
    steps, rows = decode(fetch(address, "plugin/rnn_diag/series?run=run&tag=rnn_diag/l0/grad"))
    assert steps == list(range(300))
    assert [row[0, 0] for row in rows] == [-step / 16 for step in range(300)]
    listed: dict[str, Any] = json.loads(fetch(address, "plugins_listing"))
    assert listed["rnn_diag"]["enabled"]
    assert listed["rnn_diag"]["tab_name"] == "RNN Diagnostics"


@pytest.mark.parametrize("fast", LOADERS)
def test_beneath_a_prefix_an_empty_log_is_served(tmp_path: Path, tensorboard: Start, fast: str) -> None:
    address = tensorboard(tmp_path, f"--load_fast={fast}", "--path_prefix=/pre/fix", prefix="/pre/fix")
    assert json.loads(fetch(address, "plugin/rnn_diag/index"))["runs"] == {}
    assert b"export async function render" in fetch(address, "plugin/rnn_diag/static/index.js")


@pytest.mark.timeout(600)
def test_the_wheel_serves_the_tab_where_there_is_no_torch(tmp_path: Path, logdir: Path, tensorboard: Start) -> None:
    root = Path(__file__).parents[2]
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, root]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv/bin/python")
    install = [python, "-m", "pip", "install", "-q", "-c", root / "constraints.txt"]
    subprocess.run([*install, "--no-deps", wheel], check=True)
    subprocess.run([*install, "tensorboard", "numpy"], check=True)
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 1
    address = tensorboard(logdir, python=python, runs=2)
    assert set(json.loads(fetch(address, "plugin/rnn_diag/index"))["runs"]) == {"lstm", "tanh_rnn"}
    page = (root / "rnn_diag/tb/static").iterdir()
    for file in page:
        assert fetch(address, f"plugin/rnn_diag/static/{file.name}") == file.read_bytes()
