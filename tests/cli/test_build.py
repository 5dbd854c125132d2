"""From a configuration to the objects of a run: what the machine has, and arguments that nobody knows."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch
from omegaconf import OmegaConf

from rnn_diag.cli.build import Bar, assembled, check_targets
from rnn_diag.cli.compose import checked_overrides, composed, configuration_directory
from tests.cli.conftest import QUICK


@pytest.fixture(params=[False, True])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return bool(request.param)


def trainer(*words: str) -> dict[str, object]:
    return dict(composed("train", [*words, "output_dir=here"]).trainer)


def test_ddp_takes_all_gpus_or_else_two_processes(gpu: bool) -> None:
    made = trainer("trainer=ddp")
    assert (made["strategy"], made["accelerator"], made["devices"]) == ("ddp", "auto", "auto" if gpu else 2)


def test_a_given_number_of_processes_is_kept(gpu: bool) -> None:
    assert trainer("trainer=ddp", "trainer.devices=3")["devices"] == 3


def test_two_cpu_processes_can_be_had_beside_gpus(gpu: bool) -> None:
    made = trainer("trainer=ddp_cpu")
    assert (made["strategy"], made["accelerator"], made["devices"]) == ("ddp", "cpu", 2)


@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_a_gpu_that_is_not_there_is_reported(
    accelerator: str, small: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    words = checked_overrides([*small("adding"), *QUICK, f"trainer.accelerator={accelerator}", "output_dir=here"])
    with pytest.raises(ValueError, match=rf"accelerator='{accelerator}'; .* choices: trainer=cpu, trainer=ddp_cpu"):
        assembled(composed("train", words))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("+optimizer.lrr=1", r"optimizer.lrr is not known; choices: .*\blr\b"),
        ("+scheduler.step=1", r"scheduler.step is not known; choices: .*\bstep_size\b"),
        ("+cell.layers=1", r"cell.layers is not known; choices: .*\bnum_layers\b"),
    ],
)
def test_an_argument_that_nobody_knows_is_reported_before_it_is_used(
    word: str, message: str, small: Callable[[str], list[str]]
) -> None:
    words = checked_overrides([*small("adding"), *QUICK, "scheduler=step", "logger=none", word, "output_dir=here"])
    with pytest.raises(TypeError, match=message):
        assembled(composed("train", words))


@pytest.mark.parametrize("group", ["task", "cell", "initialization", "optimizer", "scheduler"])
def test_every_choice_that_is_shipped_may_come_with_a_checkpoint(group: str) -> None:
    for file in (configuration_directory() / group).glob("*.yaml"):
        choice = f"[{file.stem}]" if group == "initialization" else file.stem
        configuration = composed("train", [f"{group}={choice}", "callbacks=none", "logger=none", "output_dir=here"])
        check_targets(OmegaConf.create(OmegaConf.to_container(configuration, resolve=True)))


def test_the_progress_bar_can_be_sent_to_another_process() -> None:
    assert isinstance(pickle.loads(pickle.dumps(Bar())), Bar)
