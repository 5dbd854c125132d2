"""On two ranks the doctor says what it says of the union of their batches, and rank zero writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rnn_diag.doctor import Report


def run(folder: Path, ranks: int, word: str) -> list[dict]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("doctor_ranks.py")), str(ranks), str(folder), word],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Every layer and direction") == 1, done.stdout
    assert done.stdout.count("What the doctor found at step 1") == (word == "report")
    return [json.loads((folder / f"{ranks}_{rank}.json").read_text()) for rank in range(ranks)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_ranks_find_what_one_process_finds_on_the_union_and_rank_zero_writes(tmp_path):
    (union,) = run(tmp_path, 1, "report")
    first, second = run(tmp_path, 2, "report")
    assert first == second
    assert first["findings"] == union["findings"]
    assert {"padding_read", "dead_direction"} <= {id for id, _, _ in union["findings"]}
    for layer, vitals in union["vitals"].items():
        for name, value in vitals.items():
            if name in ("horizon", "influence_peak", "forget_bias", "padding_read", "read_share", "direct_norm"):
                assert first["vitals"][layer][name] == pytest.approx(value, rel=1e-4), (layer, name)
    assert [one.id for one in Report.read(tmp_path / "run2" / "doctor.json").findings] == [
        id for id, _, _ in first["findings"]
    ]
    assert len(list((tmp_path / "run2").rglob("doctor.json"))) == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_ranks_refuse_a_bad_start_for_the_same_reason(tmp_path):
    first, second = run(tmp_path, 2, "warning")
    assert first == second
    assert first["step"] == 0
    assert first["refused"].startswith("pre-flight: warning: encoder.l0")
