"""Two processes log what one process logs on the union of their batches, however they share the network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(folder: Path, strategy: str, batch_size: int, batches: int, *fail: str) -> list[dict[str, float]]:
    command = [
        sys.executable,
        str(Path(__file__).with_name("ranks.py")),
        strategy,
        str(batch_size),
        str(folder),
        str(batches),
        *fail,
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = 1 if strategy == "auto" else 2
    return [json.loads((folder / f"{ranks}_{rank}.json").read_text()) for rank in range(ranks)]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "model_parallel"])
def test_two_ranks_with_unequal_lengths_log_what_one_process_logs_on_the_union(strategy, tmp_path):
    (union,) = run(tmp_path, "auto", 8, 2)
    first, second = run(tmp_path, strategy, 4, 2)
    compared = [name for name in union if not name.endswith(("overhead", "fidelity"))]
    assert any(name.startswith("memory_horizon") for name in compared)
    for name in compared:
        assert first[name] == second[name]
        assert first[name] == pytest.approx(union[name], rel=1e-4, abs=1e-6), name
    assert first.keys() == second.keys()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_failure_on_one_rank_switches_the_measure_off_on_both_and_training_ends(tmp_path):
    first, second = run(tmp_path, "ddp", 4, 3, "fail")
    assert first["step"] == second["step"] == 3
    assert first == second
