"""The console command, in processes of its own: help, mistakes, sweeps, several ranks."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rnn_diag.cli.compose import configuration_directory
from tests.cli.conftest import QUICK, STEPS

Command = Callable[..., subprocess.CompletedProcess[str]]
ADDING = ["task=adding", "task.sequence_length=8", "task.train_size=192", "task.held_out_size=8", *QUICK, *STEPS]


def test_help_names_every_choice_and_explains_the_options(command: Command) -> None:
    told = command("--help")
    assert told.returncode == 0
    told_cells = " ".join(told.stdout.split("cell: ")[1].split("\n\n")[0].split())
    cells = sorted(file.stem for file in (configuration_directory() / "cell").glob("*.yaml"))
    assert told_cells.startswith(", ".join(cells)) and {"gru", "lstm", "recurrent", "torch_rnn"} <= set(cells)
    assert "rnn-diag-train -m task=timing cell=lstm,peephole_lstm" in told.stdout
    assert "$" not in told.stdout
    assert max(map(len, told.stdout.splitlines())) <= 120


def test_a_typo_ends_with_one_line_and_leaves_no_folder(command: Command, tmp_path: Path) -> None:
    told = command("cell=lstmm")
    assert told.returncode == 1
    assert told.stderr.startswith("rnn-diag-train: unknown cell 'lstmm'; did you mean 'lstm'?")
    assert told.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=adding", "model=classifier"], "SequenceClassifier does not fit a task whose target is 'value'"),
        (["task=timing", "task.batch_size=20000", "callbacks=none"], "batch_size=20000 on 1 process(es) needs"),
    ],
)
def test_bad_input_ends_with_one_line_and_no_stack_trace(command: Command, words: list[str], message: str) -> None:
    told = command(*words)
    assert told.returncode == 1
    assert told.stderr.startswith(f"rnn-diag-train: {message}")
    assert told.stderr.count("\n") == 1


def test_a_run_ends_with_the_table_and_the_command_that_shows_it(command: Command, tmp_path: Path) -> None:
    told = command(*ADDING, "hydra.run.dir=here")
    assert told.returncode == 0, told.stderr
    assert "val/mse" in told.stdout
    assert "0.1667" in told.stdout
    assert "tensorboard --logdir here" in told.stdout
    assert list((tmp_path / "here").glob("events.out.tfevents.*"))
    assert (tmp_path / "here" / "run.yaml").is_file()


def test_a_sweep_runs_every_choice_and_shows_them_together(command: Command, tmp_path: Path) -> None:
    told = command("task=adding", "-m", "cell=rnn,gru", *ADDING[1:], "hydra.sweep.dir=sweep")
    assert told.returncode == 0, told.stderr
    folders = {folder.name for folder in (tmp_path / "sweep").iterdir() if folder.is_dir()}
    assert folders == {"0_adding_rnn", "1_adding_gru"}
    assert told.stdout.count("tensorboard --logdir sweep") == 2


@pytest.mark.slow
def test_two_processes_share_a_run_and_one_folder(command: Command, tmp_path: Path) -> None:
    told = command(*ADDING, "cell=lstm", "trainer=ddp", "trainer.devices=2", "hydra.run.dir=here")
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("val/mse") == 1
    assert {folder.name for folder in tmp_path.iterdir()} == {"here"}
    assert len(list((tmp_path / "here").glob("events.out.tfevents.*"))) == 1


@pytest.mark.slow
def test_every_run_of_a_sweep_has_its_own_two_processes(command: Command, tmp_path: Path) -> None:
    told = command("-m", *ADDING, "cell=peephole_lstm,gru", "trainer=ddp", "hydra.sweep.dir=sweep")
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("val/mse") == 2
    for folder in ("0_adding_peephole_lstm", "1_adding_gru"):
        assert len(list((tmp_path / "sweep" / folder).glob("events.out.tfevents.*"))) == 1
    assert {folder.name for folder in tmp_path.iterdir()} == {"sweep"}
