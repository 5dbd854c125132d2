"""The command from an installed wheel, away from any checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.cli.test_command_line import ADDING

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_trains_in_an_empty_folder(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(CHECKOUT)]
    subprocess.run(build, check=True, capture_output=True, timeout=110)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    empty = tmp_path / "empty"
    empty.mkdir()
    program = (
        "import rnn_diag.cli.configuration as c; print(c.configuration_directory()); "
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
