"""Sweeps on engines that exist: several processes, a cluster's queue, a study on disk that outlives its processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rnn_diag.cli.train import main

needs_joblib, needs_optuna, needs_submitit = (
    pytest.mark.skipif(find_spec(name) is None, reason=f"needs {name}: pip install 'rnn_diag[sweep]'")
    for name in ("joblib", "optuna", "submitit")
)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
WORDS = ["task=adding", "task.sequence_length=5", "task.train_size=32", "cell.hidden_size=2", "trainer.max_epochs=1"]
WORDS += ["trainer.enable_progress_bar=false", "trainer.limit_val_batches=1", "logger=none", "callbacks=none"]


def started(folder: Path, *words: str) -> multiprocessing.process.BaseProcess:
    """Start the command in a process forked from this one, which has imported all that it needs."""

    def run() -> None:
        os.chdir(folder)
        with open("printed.txt", "a") as file:
            os.dup2(file.fileno(), 1), os.dup2(file.fileno(), 2)
        sys.argv[:] = ["rnn-diag-train", "-m", *words, *WORDS]
        os.environ.pop("PYTEST_CURRENT_TEST", None)
        main()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def trials(study: Path) -> list[str]:
    """Return the states of a study's trials."""
    if not study.is_file():
        return []
    with closing(sqlite3.connect(study, timeout=30)) as database:
        try:
            return [state for (state,) in database.execute("select state from trials order by number")]
        except sqlite3.OperationalError:  # its tables are not there yet
            return []


def wait_until(holds: Callable[[], bool], seconds: float = 100) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.05)


@needs_optuna
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_study_on_disk_is_shared_by_processes_and_continues_after_one_is_killed(tmp_path: Path) -> None:
    words = ["sweep=optuna", "hydra.sweeper.storage=sqlite:///study.db", "hydra.sweeper.study_name=adding"]
    study = tmp_path / "study.db"
    first = started(tmp_path, *words, "hydra.sweeper.n_trials=50", "hydra.sweep.dir=first")
    wait_until(lambda: "COMPLETE" in trials(study))
    second = started(tmp_path, *words, "hydra.sweeper.n_trials=2", "hydra.sweep.dir=second")
    wait_until(lambda: "RUNNING" in trials(study))
    os.kill(first.pid or 0, signal.SIGKILL)
    first.join()
    second.join(200)
    assert second.exitcode == 0, (tmp_path / "printed.txt").read_text()[-3000:]
    before = trials(study)
    third = started(tmp_path, *words, "hydra.sweeper.n_trials=2", "hydra.sweep.dir=third")
    third.join(200)
    assert third.exitcode == 0, (tmp_path / "printed.txt").read_text()[-3000:]
    after = trials(study)
    assert after.count("COMPLETE") == before.count("COMPLETE") + 2 >= 5
    assert len(after) == len(before) + 2 and after.count("RUNNING") == before.count("RUNNING") <= 1


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1"], marks=needs_joblib),
        pytest.param(["sweep=submitit", "hydra/launcher=submitit_local", "seed=0"], marks=needs_submitit),
    ],
)
def test_a_launcher_gives_each_run_a_process_and_a_folder(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rnn_diag.cli.train", "-m", *words, *WORDS, "hydra.sweep.dir=runs"]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    seeds = words[-1].partition("=")[2].split(",")
    for number, seed in enumerate(seeds):
        (folder,) = (tmp_path / "runs").glob(f"{number}_*")
        assert OmegaConf.load(folder / "run.yaml").seed == int(seed)
        assert (folder / "checkpoints" / "last.ckpt").is_file()


@needs_submitit
def test_a_cluster_is_asked_for_what_the_configuration_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of docs/scale.md: four GPUs for a run, and a process for each; this cluster takes no jobs."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, script in {"srun": "", "sbatch": f"cp $1 {tmp_path}/script.sh; exit 1"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    words = ["sweep=submitit", "cell=lstm,gru", "trainer=ddp", "trainer.devices=4", "hydra.sweep.dir=runs"]
    words += ["hydra.launcher.partition=gpu", "hydra.launcher.gpus_per_node=4", "hydra.launcher.tasks_per_node=4"]
    started(tmp_path, *words).join(100)
    script = (tmp_path / "script.sh").read_text().splitlines()
    asked = dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in script if line.startswith("#SBATCH"))
    expected = {"time": "240", "cpus-per-task": "2", "mem": "8GB", "partition": "gpu", "nodes": "1"}
    expected |= {"gpus-per-node": "4", "ntasks-per-node": "4", "array": "0-1%2", "job-name": "train"}
    assert expected.items() <= asked.items(), asked
    assert any(line.startswith("srun ") and "submitit.core._submit" in line for line in script)
