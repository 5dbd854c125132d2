"""The documented experiments: they compose, and their first comment is the command that runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from rnn_diag.cli.configuration import configuration_directory

MEASURING = {"gradient_norms", "memory_horizon", "spectrum", "saturation", "lyapunov", "doctor"}
EXPERIMENTS = sorted((configuration_directory() / "experiment").glob("*.yaml"))


def composed(experiment: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
        return compose("train", overrides=[f"experiment={experiment}", *overrides])


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_the_first_comment_is_the_command(file: Path) -> None:
    assert file.read_text().splitlines()[:2] == ["# @package _global_", f"# rnn-diag-train experiment={file.stem}"]
    assert composed(file.stem).trainer.max_epochs >= 1


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [("timing_lstm", "timing_peephole", {"cell"}), ("adding_lstm", "adding_rnn", {"cell", "optimizer"})],
)
def test_a_pair_of_experiments_differs_in_nothing_else(one: str, other: str, differ: set[str]) -> None:
    first, second = composed(one, "output_dir=here"), composed(other, "output_dir=here")
    assert {key for key in first if first[key] != second[key]} == differ
    assert first.cell.hidden_size == second.cell.hidden_size


def test_the_demonstration_measures_every_twenty_steps() -> None:
    callbacks = composed("demo").callbacks
    assert {"gradient_norms", "spectrum", "saturation"} <= set(callbacks)
    assert {callback.every_n_steps for callback in callbacks.values()} == {20}


def test_one_word_says_what_share_of_the_time_every_callback_may_take() -> None:
    callbacks = composed("adding_rnn", "max_overhead=0.125").callbacks
    assert set(callbacks) >= MEASURING
    assert {callback.max_overhead for name, callback in callbacks.items() if name in MEASURING} == {0.125}


def test_the_command_line_overrides_an_experiment() -> None:
    assert composed("demo", "cell=gru").cell._target_ == "rnn_diag.nn.GRU"
    assert composed("timing_lstm", "cell.hidden_size=3").cell.hidden_size == 3
