"""The command from an installed wheel, away from any checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.cli.test_command_line import ADDING

CHECKOUT = Path(__file__).parents[2]


def built_wheel(tmp_path: Path, *options: str) -> Path:
    """Return the folder that the wheel was unpacked into; without options it is built from a source distribution."""
    build = [sys.executable, "-m", "build", *options, "--no-isolation", "--outdir", str(tmp_path), str(CHECKOUT)]
    subprocess.run(build, check=True, capture_output=True, timeout=110)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    return site


@pytest.mark.slow
def test_the_wheel_examines_in_an_empty_folder(tmp_path: Path) -> None:
    site, empty = built_wheel(tmp_path), tmp_path / "empty"
    empty.mkdir()
    program = (
        "import rnn_diag.cli.compose as c; print(c.configuration_directory()); "
        "from rnn_diag.cli.doctor import main; main()"
    )
    words = ["task=adding", "task.train_size=64", "task.held_out_size=32", "cell.hidden_size=8", "--fail-on", "warning"]
    told = subprocess.run(
        [sys.executable, "-c", program, *words, "--json", "report.json"],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert told.returncode == 1, told.stderr
    assert told.stdout.startswith(str(site / "rnn_diag" / "conf"))
    assert "vanishing" in told.stdout
    assert json.loads((empty / "report.json").read_text())["severity"] == "critical"
    assert sorted(one.name for one in empty.iterdir()) == ["report.json"]
    entries = next(site.glob("*.dist-info")) / "entry_points.txt"
    assert "rnn-diag-doctor = rnn_diag.cli.doctor:main" in entries.read_text()


@pytest.mark.slow
def test_the_wheel_trains_in_an_empty_folder(tmp_path: Path) -> None:
    site = built_wheel(tmp_path, "--wheel")
    empty = tmp_path / "empty"
    empty.mkdir()
    program = (
        "import rnn_diag.cli.compose as c; print(c.configuration_directory()); "
        "from rnn_diag.cli.train import main; main()"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, *ADDING, "hydra.run.dir=here"],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(str(site / "rnn_diag" / "conf"))
    assert list((empty / "here").glob("events.out.tfevents.*"))
