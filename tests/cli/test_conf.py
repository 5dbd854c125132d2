"""The configuration files: each composes, says how it is used, and serves other Hydra projects."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.utils import instantiate
from omegaconf import DictConfig

from rnn_diag.callbacks import LyapunovSpectrum, RNNDiagnostics
from rnn_diag.cli import compose as command_line
from rnn_diag.cli.compose import checked_overrides, configuration_directory

GROUPS = ("experiment", "debug", "sweep")
FILES = [file for group in GROUPS for file in sorted((configuration_directory() / group).glob("*.yaml"))]
MEASURING = sorted(
    file.stem for file in (configuration_directory() / "callbacks").glob("*.yaml") if file.stem != "none"
)


def composed(experiment: str, *overrides: str) -> DictConfig:
    return command_line.composed("train", [f"experiment={experiment}", *overrides])


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.stem}={file.stem}")
def test_the_second_line_is_the_command(file: Path) -> None:
    first, second = file.read_text().splitlines()[:2]
    sweeping = "-m " if file.parent.stem == "sweep" else ""
    assert first == "# @package _global_"
    assert second.startswith(f"# rnn-diag-train {sweeping}{file.parent.stem}={file.stem}")


@pytest.mark.parametrize("file", [file for file in FILES if file.parent.stem != "sweep"], ids=lambda file: file.stem)
def test_every_file_of_the_group_composes(file: Path) -> None:
    configuration = command_line.composed("train", [f"{file.parent.stem}={file.stem}", "output_dir=here"])
    assert instantiate(configuration.trainer).func.__name__ == "Trainer"


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
    assert set(callbacks) == {"rnn_diagnostics"}
    assert {callback.every_n_steps for callback in callbacks.values()} == {20}


def test_one_word_says_what_share_of_the_time_every_callback_may_take() -> None:
    callbacks = composed("adding_rnn", "max_overhead=0.125").callbacks
    assert set(callbacks) == {"rnn_diagnostics", "lyapunov", "doctor"}
    assert {callback.max_overhead for callback in callbacks.values()} == {0.125}


def test_the_command_line_overrides_an_experiment() -> None:
    assert composed("demo", "cell=gru").cell._target_ == "rnn_diag.nn.GRU"
    assert composed("timing_lstm", "cell.hidden_size=3").cell.hidden_size == 3


@pytest.mark.parametrize("name", MEASURING)
def test_every_callback_measures_as_the_two_words_say(name: str) -> None:
    words = [f"callbacks=[{name}]", "measure_every_n_steps=7", "max_overhead=null", "output_dir=here"]
    (callback,) = map(instantiate, command_line.composed("train", words).callbacks.values())
    schedules = {(one.schedule.every_n_steps, one.schedule.max_overhead) for one in callback.diagnostics or (callback,)}
    assert schedules == {(70 if name == "lyapunov" else 7, None)}


def test_exponents_are_measured_a_tenth_as_often_however_they_are_switched_on() -> None:
    words = [
        "measure_every_n_steps=30",
        "callbacks=[rnn_diagnostics,lyapunov]",
        "+callbacks.rnn_diagnostics.lyapunov=true",
    ]
    made = [instantiate(one) for one in command_line.composed("train", [*words, "output_dir=here"]).callbacks.values()]
    exponents = [one for callback in made for one in callback.diagnostics if isinstance(one, LyapunovSpectrum)]
    assert [one.schedule.every_n_steps for one in exponents] == [300, 300]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return the configuration folder of another project, with callbacks of its own."""
    (tmp_path / "callbacks").mkdir()
    (tmp_path / "train.yaml").write_text(
        "defaults:\n  - callbacks: default\n  - _self_\nhydra:\n  searchpath: [pkg://rnn_diag.conf]\nlr: 0.1\n"
    )
    (tmp_path / "callbacks" / "default.yaml").write_text(
        "summary:\n  _target_: lightning.pytorch.callbacks.ModelSummary\n"
    )
    (tmp_path / "callbacks" / "both.yaml").write_text("defaults: [default, rnn_diagnostics]\n")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["callbacks=rnn_diagnostics"], ["rnn_diagnostics"]),
        (["callbacks=both"], ["summary", "rnn_diagnostics"]),
        (["+callbacks@callbacks.ours=gradient_norms"], ["summary", "ours"]),
        ([], ["summary"]),
    ],
)
def test_another_project_takes_up_the_suite_by_its_search_path(
    words: list[str], expected: list[str], project: Path
) -> None:
    with initialize_config_dir(str(project), version_base="1.3"):
        callbacks = compose("train", overrides=words).callbacks
    assert list(callbacks) == expected
    if "rnn_diagnostics" in expected:
        made = instantiate(callbacks.rnn_diagnostics)
        assert isinstance(made, RNNDiagnostics) and made.schedule.every_n_steps == 50


@pytest.fixture
def optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `hydra/sweeper=optuna` compose where the plugin is not installed."""
    node = {"_target_": "optuna", "direction": "minimize", "n_trials": 1, "n_jobs": 1, "params": None}
    Plugins.instance()  # registers those that are installed
    groups = ConfigStore.instance().repo["hydra"]
    if "optuna.yaml" not in groups.get("sweeper", {}):
        monkeypatch.setitem(groups, "sweeper", dict(groups["sweeper"]))
        ConfigStore.instance().store(name="optuna", group="hydra/sweeper", node=node)


@pytest.mark.parametrize(
    ("objective", "direction"),
    [
        ("memory_horizon/*/steps", "maximize"),
        ("doctor/severity", "minimize"),
        ("doctor/recurrent.l0/severity", "minimize"),
        ("val/accuracy", "maximize"),
        ("train/loss", "minimize"),
    ],
)
def test_an_optuna_sweep_knows_the_direction_of_an_objective(optuna: None, objective: str, direction: str) -> None:
    words = ["task=adding", "sweep=optuna", f"objective={objective}"]
    assert checked_overrides(words, sweeping=True)[-1] == f"hydra.sweeper.direction={direction}"


def test_an_objective_whose_direction_is_not_known_asks_for_it(optuna: None) -> None:
    words = ["task=adding", "sweep=optuna", "objective=spectrum/*/henrici"]
    with pytest.raises(
        ValueError, match=r"objective='spectrum/\*/henrici'; expected hydra.sweeper.direction=minimize or"
    ):
        checked_overrides(words, sweeping=True)
    assert checked_overrides([*words, "hydra.sweeper.direction=maximize"], sweeping=True)


@pytest.mark.parametrize("word", ["sweep=optuna", "hydra/sweeper=optuna"])
@pytest.mark.parametrize(
    ("task", "direction"), [("digits", "maximize"), ("adding", "minimize"), ("source_text", "minimize")]
)
def test_an_optuna_sweep_follows_the_metric_of_the_task(optuna: None, word: str, task: str, direction: str) -> None:
    words = checked_overrides([f"task={task}", word], sweeping=True)
    with initialize_config_dir(str(configuration_directory()), version_base="1.3"):
        configuration = compose("train", overrides=words, return_hydra_config=True)
    assert configuration.hydra.sweeper.direction == direction
    chosen = checked_overrides([f"task={task}", word, "hydra.sweeper.direction=minimize"], sweeping=True)
    assert chosen[-1] == "hydra.sweeper.direction=minimize"
