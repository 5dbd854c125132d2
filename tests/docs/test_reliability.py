"""A sample of what `docs/reliability.md` shows of all faults: none changes a training, ends it or leaves anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sample_of_faults_changes_no_training(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    words = ["benchmarks/reliability.py", "--share", "83", "--processes", "1", "--write", str(page)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=580
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:] + page.read_text()
    assert "**not so" not in page.read_text()
