"""Several processes for one run."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rnn_diag.cli.build import Run
from rnn_diag.cli.ranks import inherited_configuration, is_started_to_help, launching
from tests.cli.conftest import QUICK, STEPS


def test_a_run_leaves_the_environment_as_it_was(run: Callable[..., Run], small: Callable[[str], list[str]]) -> None:
    before = dict(os.environ)
    run(*small("adding"), *QUICK, *STEPS, "logger=none")
    assert {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"} == {
        name: value for name, value in before.items() if name != "PYTEST_CURRENT_TEST"
    }


def test_a_started_process_finds_the_configuration_of_its_run(tmp_path: Path) -> None:
    configuration = OmegaConf.create({"output_dir": str(tmp_path / "run"), "seed": 3})
    assert inherited_configuration() is None
    with launching(configuration):
        assert inherited_configuration() == configuration
        with launching(OmegaConf.create({"output_dir": str(tmp_path / "other")})):  # a rank that trains
            assert inherited_configuration() == configuration
    assert inherited_configuration() is None
    assert not (tmp_path / "other").exists()


def test_the_environment_is_as_before_after_an_error(tmp_path: Path) -> None:
    before = dict(os.environ)
    with pytest.raises(KeyError), launching(OmegaConf.create({"output_dir": str(tmp_path)})):
        os.environ["LOCAL_RANK"] = "1"
        raise KeyError
    assert dict(os.environ) == before


@pytest.mark.parametrize(("count", "rank"), [("WORLD_SIZE", "RANK"), ("SLURM_NTASKS", "SLURM_PROCID")])
def test_of_the_ranks_that_a_launcher_starts_zero_alone_writes(
    count: str, rank: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(count, "2")
    for number in range(2):
        monkeypatch.setenv(rank, str(number))
        folder = tmp_path / str(number)
        with launching(OmegaConf.create({"output_dir": str(folder)})):
            assert is_started_to_help() is bool(number)
            assert folder.exists() is not bool(number)
    monkeypatch.setenv(count, "1")  # a job of one process on a cluster
    assert not is_started_to_help()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_nodes_of_torchrun_train_one_run_and_leave_one_folder(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["task=adding", "task.sequence_length=5", "task.train_size=64", "cell.hidden_size=2", *STEPS]
    words += ["trainer=ddp_cpu", "trainer.num_nodes=2", "trainer.devices=1", "measure_every_n_steps=1"]
    start = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    start += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    nodes = [
        subprocess.Popen(
            [*start, f"--node-rank={node}", "-m", "rnn_diag.cli.train", *words],
            cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for node in range(2)
    ]  # fmt: skip
    printed = [node.communicate(timeout=280)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], printed
    assert [text.count("rnn_diag: recurrent layers") for text in printed] == [1, 0]
    (events,) = tmp_path.rglob("events.out.tfevents.*")
    folders = {one.parent for one in tmp_path.rglob("*") if one.is_file()}
    assert all(folder == events.parent or events.parent in folder.parents for folder in folders)
