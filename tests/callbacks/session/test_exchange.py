"""Two processes measure, log and say what one process does on the union of their batches, however they share it."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rnn_diag.callbacks.session.exchange import RankReport, merged, seen_by_any
from rnn_diag.coverage import Coverage, Status
from rnn_diag.doctor import Report

SCRIPT = Path(__file__).parents[1] / "ranks.py"


def test_what_failed_on_one_rank_is_left_out_of_all():
    problems = {"lost": "why"}
    found = merged(problems, [{("seen", "l0"): 1, ("lost", "l0"): 1}, {("seen", "l0"): 2, ("seen", "l1"): 4}])
    assert found == {("seen", "l0"): 3, ("seen", "l1"): 4}


def test_what_cannot_be_added_up_is_a_problem_of_its_measure():
    problems: dict[str, str] = {}
    assert merged(problems, [{("a", "l0"): 1, ("b", "l0"): 1}, {("a", "l0"): "one", ("b", "l0"): 2}]) == {
        ("b", "l0"): 3
    }
    assert problems["a"].startswith("TypeError")


def test_a_layer_that_ran_on_any_rank_ran():
    silent, ran = (Coverage("l0", "GRU", status, "") for status in (Status.NEVER_RAN, Status.EXACT))
    assert seen_by_any([RankReport(coverage=[silent]), RankReport(coverage=[ran])]) == {"l0": ran}


def test_what_cannot_be_sent_is_a_problem_of_its_measure_and_the_rest_is_sent():
    report = RankReport(found={("a", "l0"): lambda: 0, ("b", "l0"): 2}).sendable()
    assert report.found == {("b", "l0"): 2}
    assert list(report.problems) == ["a"]
    assert pickle.loads(pickle.dumps(report)) == report


def run(folder: Path, **task: Any) -> list[dict[str, Any]]:
    """Train on one rank, or on two, and return what each ends with, and what was printed."""
    ranks = 1 if task.get("strategy", "auto") == "auto" else 2
    done = subprocess.run(
        [sys.executable, str(SCRIPT), json.dumps({"out": str(folder), **task})],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ends = [json.loads((folder / f"{ranks}_{rank}.json").read_text()) for rank in range(ranks)]
    (folder / "printed.txt").write_text(done.stdout)
    return ends


def logged(end: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in end.items() if "/" in name}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "model_parallel"])
def test_two_ranks_with_unequal_lengths_log_what_one_process_logs_on_the_union(strategy, tmp_path):
    (union,) = run(tmp_path, model="packing", batch_size=8, batches=2)
    first, second = run(tmp_path, model="packing", strategy=strategy, batch_size=8, batches=2)
    compared = [name for name in logged(union) if not name.endswith(("overhead", "fidelity"))]
    assert any(name.startswith("memory_horizon") for name in compared)
    for name in compared:
        assert first[name] == second[name]
        assert first[name] == pytest.approx(union[name], rel=1e-4, abs=1e-6), name
    assert first.keys() == second.keys()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_failure_on_one_rank_switches_the_measure_off_on_both_and_training_ends(tmp_path):
    first, second = run(tmp_path, model="packing", strategy="ddp", batch_size=8, batches=3, fails="measure")
    assert first["step"] == second["step"] == 3
    assert {name: first[name] for name in first if "/" in name} == {
        name: second[name] for name in second if "/" in name
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_error_outside_the_measures_on_one_rank_leaves_that_step_out_on_both(tmp_path):
    first, second = run(tmp_path, model="packing", strategy="ddp", batch_size=8, batches=3, fails="hook")
    assert first["step"] == second["step"] == 3
    assert {name: first[name] for name in first if "/" in name} == {
        name: second[name] for name in second if "/" in name
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_ranks_find_what_one_process_finds_on_the_union_and_rank_zero_writes(tmp_path):
    (union,) = run(tmp_path, model="padding", batch_size=8, preflight="report")
    first, second = run(tmp_path, model="padding", strategy="ddp", batch_size=8, preflight="report")
    printed = (tmp_path / "printed.txt").read_text()
    assert printed.count("Every layer and direction") == 1, printed
    assert printed.count("What the doctor found at step 1") == 1
    assert first == second
    assert first["findings"] == union["findings"]
    assert {"padding_read", "dead_direction"} <= {id for id, _, _ in union["findings"]}
    for layer, vitals in union["vitals"].items():
        for name, value in vitals.items():
            if name in ("horizon", "influence_peak", "forget_bias", "padding_read", "read_share", "direct_norm"):
                assert first["vitals"][layer][name] == pytest.approx(value, rel=1e-4), (layer, name)
    written = list((tmp_path / "run2").rglob("doctor.json"))
    assert len(written) == 1
    assert [one.id for one in Report.read(written[0]).findings] == [id for id, _, _ in first["findings"]]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_ranks_refuse_a_bad_start_for_the_same_reason(tmp_path):
    first, second = run(tmp_path, model="padding", strategy="ddp", batch_size=8, preflight="warning")
    assert (tmp_path / "printed.txt").read_text().count("Every layer and direction") == 1
    assert first == second
    assert first["step"] == 0
    assert first["refused"].startswith("pre-flight: warning: encoder.l0")
