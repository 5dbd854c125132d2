"""Runs of the command line: every task with every cell, seeds, checkpoints, options."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rnn_diag.batch import Batch
from rnn_diag.callbacks import Doctor
from rnn_diag.cli.build import Run
from rnn_diag.cli.compose import checked_overrides, composed, configuration_directory
from rnn_diag.cli.train import reported
from rnn_diag.models import SequenceRegressor
from tests.cli.conftest import QUICK, STEPS
from tests.tasks.small import SMALL

CELLS = sorted(file.stem for file in (configuration_directory() / "cell").glob("*.yaml"))


def test_there_is_a_small_form_of_every_task() -> None:
    assert set(SMALL) == {file.stem for file in (configuration_directory() / "task").glob("*.yaml")}


PAIRS = [(sorted(SMALL)[(number + shift) % len(SMALL)], cell) for number, cell in enumerate(CELLS) for shift in (0, 3)]
"""Every cell with two tasks, and every task with several cells: neither knows of the other."""


def test_every_task_is_among_the_pairs() -> None:
    assert {task for task, _ in PAIRS} == set(SMALL)


@pytest.mark.parametrize(("task", "cell"), PAIRS)
def test_every_task_and_every_cell_trains(
    task: str, cell: str, run: Callable[..., Run], small: Callable[[str], list[str]]
) -> None:
    images = ["cell.equations.size=[1,1]"] if cell == "conv_lstm" else []  # no task here is made of such images
    finished = run(*small(task), f"cell={cell}", *images, *QUICK, *STEPS, "logger=none")
    metrics = finished.trainer.callback_metrics
    assert finished.trainer.global_step == 3
    assert torch.isfinite(metrics["train/loss"])
    assert torch.isfinite(metrics[finished.model.monitor])
    for name, value in finished.task.spec.baseline.items():
        assert metrics[f"baseline/{name}"] == pytest.approx(value)
        assert f"val/{'loss' if name == finished.model.loss_name else name}" in metrics


def weights(finished: Run) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in finished.model.named_parameters()}


def losses(folder: Path) -> list[str]:
    rows = (folder / "csv" / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("train/loss")
    return [row.split(",")[column] for row in rows[1:] if row.split(",")[column]]


def test_the_same_seed_gives_the_same_losses_and_another_seed_others(
    run: Callable[..., Run], small: Callable[[str], list[str]], tmp_path: Path
) -> None:
    for folder, seed in (("first", 1), ("again", 1), ("other", 2)):
        run(*small("adding"), *QUICK, *STEPS, "logger=csv", f"seed={seed}", folder=folder)
    assert len(losses(tmp_path / "first")) == 3
    assert losses(tmp_path / "first") == losses(tmp_path / "again")
    assert losses(tmp_path / "first") != losses(tmp_path / "other")


@pytest.mark.parametrize("task", ["adding", "source_text"])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    task: str, run: Callable[..., Run], small: Callable[[str], list[str]], tmp_path: Path
) -> None:
    options = [*small(task), *QUICK, *STEPS, "logger=none"]
    whole = run(*options, "trainer.max_epochs=3", folder="whole")
    run(*options, "trainer.max_epochs=2", folder="half")
    checkpoint = tmp_path / "half" / "checkpoints" / "last.ckpt"
    resumed = run(*options, "trainer.max_epochs=3", f"checkpoint={checkpoint}", folder="resumed")
    assert resumed.trainer.global_step == whole.trainer.global_step == 9
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)


def test_clipping_accumulation_and_precision_reach_the_trainer(
    run: Callable[..., Run], small: Callable[[str], list[str]]
) -> None:
    finished = run(
        *small("adding"),
        *QUICK,
        *STEPS,
        "logger=none",
        "cell=torch_gru",
        "trainer.gradient_clip_val=0.5",
        "trainer.accumulate_grad_batches=2",
        "trainer.max_epochs=2",
        "trainer.precision=bf16-mixed",
    )
    assert finished.trainer.gradient_clip_val == 0.5
    assert finished.trainer.global_step == 4  # two epochs of three batches, the last of which is a window of its own
    assert finished.trainer.precision == "bf16-mixed"


def test_the_scheduler_and_the_initialisation_of_the_configuration_are_used(
    run: Callable[..., Run], small: Callable[[str], list[str]]
) -> None:
    finished = run(
        *small("adding"),
        *QUICK,
        "logger=none",
        "cell=rnn",
        "initialization=[identity]",
        "optimizer=sgd",
        "optimizer.lr=1e-9",
        "optimizer.momentum=0",
        "scheduler=step",
        "scheduler.step_size=1",
        "trainer.max_epochs=2",
    )
    assert finished.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.25e-9)
    recurrent = finished.model.get_parameter("recurrent.weight_hh_l0")
    torch.testing.assert_close(recurrent, torch.eye(4), rtol=0, atol=1e-6)


def test_testing_scores_the_best_checkpoint_and_the_tables_keep_training_validation_and_what_happened_inside(
    run: Callable[..., Run], small: Callable[[str], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    finished = run(*small("adding"), *QUICK, *STEPS, "logger=none", "test=true", "callbacks=[gradient_norms,doctor]")
    metrics = finished.trainer.callback_metrics
    assert all(torch.isfinite(metrics[f"{stage}/mse"]) for stage in ("train", "val", "test"))
    assert [one.command_line for one in finished.trainer.callbacks if isinstance(one, Doctor)] == [True]
    told = capsys.readouterr().out
    assert "train/mse" in told and "val/mse" in told and "What happened inside" in told


def test_testing_without_a_validation_scores_the_last_weights_and_says_so(
    run: Callable[..., Run], small: Callable[[str], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    finished = run(*small("adding"), *QUICK, *STEPS, "logger=none", "test=true", "trainer.max_steps=1")
    assert torch.isfinite(finished.trainer.callback_metrics["test/mse"])
    told = capsys.readouterr()
    assert told.err == (
        "rnn-diag-train: test=true scores the last weights: the run ended before a checkpoint was validated\n"
    )
    assert "test/mse" in told.out


@pytest.mark.parametrize(("task", "worst"), [("adding", math.inf), ("digits", -math.inf)])
def test_a_sweep_takes_a_run_without_a_validation_for_the_worst(
    task: str, worst: float, small: Callable[[str], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*small(task), *QUICK, *STEPS, "logger=none", "trainer.max_steps=1", f"output_dir={tmp_path}"]
    assert reported(composed("train", checked_overrides(words))) == worst
    assert capsys.readouterr().err.endswith("was measured; a sweep takes it for the worst\n")


def test_a_sweep_is_given_the_best_value_of_the_monitored_metric(
    small: Callable[[str], list[str]], tmp_path: Path
) -> None:
    words = [*small("adding"), *QUICK, *STEPS, "logger=none", f"output_dir={tmp_path}"]
    assert 0 < reported(composed("train", checked_overrides(words))) < math.inf


def test_an_interrupted_run_shows_its_table(
    run: Callable[..., Run],
    small: Callable[[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    step = SequenceRegressor.training_step

    def interrupted(self: SequenceRegressor, batch: Batch, index: int) -> Tensor:
        if index == 2:
            raise KeyboardInterrupt
        return step(self, batch, index)

    monkeypatch.setattr(SequenceRegressor, "training_step", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit):
            run(*small("adding"), *QUICK, *STEPS, "logger=none")
    finally:
        signal.signal(signal.SIGINT, handler)
    told = capsys.readouterr().out
    assert "train/mse" in told and "2 steps" in told


@pytest.mark.parametrize("word", ["cell=gru", "cell.hidden_size=5", "cell=rnn"])
def test_a_checkpoint_of_another_network_is_refused_in_one_line(
    word: str, small: Callable[[str], list[str]], tmp_path: Path, run: Callable[..., Run]
) -> None:
    options = [*small("adding"), *QUICK, *STEPS, "logger=none"]
    run(*options, folder="first")
    checkpoint = tmp_path / "first" / "checkpoints" / "last.ckpt"
    words = [*options, word, f"checkpoint={checkpoint}", f"output_dir={tmp_path / 'second'}"]
    with pytest.raises(SystemExit) as ended:
        reported(composed("train", checked_overrides(words)))
    message = str(ended.value.code)
    assert message.startswith(
        f"rnn-diag-train: checkpoint='{checkpoint}' does not fit this configuration; expected the"
    )
    assert "\n" not in message and len(message) < 600


def test_the_best_and_the_last_checkpoint_lie_in_the_output_folder(
    run: Callable[..., Run], small: Callable[[str], list[str]], tmp_path: Path
) -> None:
    run(*small("adding"), *QUICK, *STEPS, "logger=tensorboard")
    assert {file.name for file in (tmp_path / "run" / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))


def test_a_task_that_does_not_fit_the_model_is_refused_before_training(
    run: Callable[..., Run], small: Callable[[str], list[str]]
) -> None:
    with pytest.raises(ValueError, match="SequenceClassifier does not fit a task whose target is 'value'"):
        run(*small("adding"), *QUICK, *STEPS, "model=classifier")


def test_a_value_out_of_range_is_reported_with_the_group_it_belongs_to(run: Callable[..., Run]) -> None:
    with pytest.raises(ValueError, match="task: interval=0; expected a whole number of at least 1"):
        run("task=timing", "task.interval=0", *QUICK)


def test_options_of_a_callback_that_was_not_chosen_are_reported(run: Callable[..., Run]) -> None:
    with pytest.raises(
        ValueError, match=r"callbacks\.spectrum is not part of this run; expected callbacks=\[spectrum\]"
    ):
        run("task=timing", *QUICK, "+callbacks.spectrum.every_n_steps=5")


def test_a_rate_that_the_optimizer_refuses_is_reported_before_training(
    small: Callable[[str], list[str]], tmp_path: Path
) -> None:
    words = checked_overrides([*small("adding"), *QUICK, "optimizer.lr=-1", f"output_dir={tmp_path}"])
    with pytest.raises(SystemExit, match=r"^rnn-diag-train: Invalid learning rate: -1"):
        reported(composed("train", words))


def test_a_missing_checkpoint_is_reported(run: Callable[..., Run]) -> None:
    with pytest.raises(ValueError, match=r"checkpoint='none.ckpt'; expected a .ckpt file"):
        run("task=adding", *QUICK, "checkpoint=none.ckpt")


@pytest.mark.parametrize(
    "initialization", sorted(file.stem for file in (configuration_directory() / "initialization").glob("*.yaml"))
)
def test_every_initialisation_changes_the_recurrent_layer_alone(
    initialization: str, run: Callable[..., Run], small: Callable[[str], list[str]]
) -> None:
    still = [*small("adding"), *QUICK, *STEPS, "logger=none", "optimizer=sgd", "optimizer.lr=0"]
    plain = weights(run(*still, folder="plain"))
    quick = ["initialization.flossing.steps=2"] if initialization == "flossing" else []
    changed = weights(run(*still, f"initialization=[{initialization}]", *quick, folder="changed"))
    torch.testing.assert_close(changed["recurrent.weight_ih_l0"], plain["recurrent.weight_ih_l0"], rtol=0, atol=0)
    differ = [name for name in plain if not torch.equal(plain[name], changed[name])]
    assert differ
    assert all(name.startswith("recurrent.") for name in differ)


def test_a_sweep_is_given_the_mean_of_the_numbers_that_its_objective_names(
    small: Callable[[str], list[str]], tmp_path: Path
) -> None:
    words = [*small("adding"), *QUICK, *STEPS, "logger=none", f"output_dir={tmp_path}", "cell.num_layers=2"]
    measured = ["callbacks=[saturation,doctor]", "measure_every_n_steps=1", "max_overhead=null"]
    configuration = composed("train", checked_overrides([*words, *measured, "objective=saturation/*/forget/left"]))
    assert 0.0 <= reported(configuration) <= 1.0
    configuration.objective = "doctor/severity"
    assert reported(configuration) in (0.0, 1.0, 2.0, 3.0)


def test_a_run_without_its_objective_is_the_worst_and_names_the_choices(
    small: Callable[[str], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*small("adding"), *QUICK, *STEPS, "logger=none", f"output_dir={tmp_path}", "objective=doctor/severity"]
    assert reported(composed("train", checked_overrides(words))) == math.inf
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "rnn-diag-train: objective='doctor/severity' was not measured; a sweep takes it for the worst; "
    )
    assert "val/mse" in line
