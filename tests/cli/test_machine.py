"""What a trainer configuration becomes on a machine with and without GPUs."""

from __future__ import annotations

import pytest
import torch
from omegaconf import OmegaConf

from rnn_diag.cli.machine import fitted_to_machine

DDP = OmegaConf.create({"accelerator": "auto", "devices": "auto", "strategy": "ddp"})


@pytest.fixture(params=[False, True])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: request.param)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return bool(request.param)


def test_ddp_takes_all_gpus_or_else_two_processes_and_says_so(gpu: bool) -> None:
    trainer, note = fitted_to_machine(DDP)
    assert (trainer.accelerator, trainer.devices) == (("gpu", "auto") if gpu else ("cpu", 2))
    assert note == (None if gpu else "No GPU found: 2 CPU processes (gloo) share every step.")


def test_a_given_number_of_processes_is_kept(gpu: bool) -> None:
    trainer, _ = fitted_to_machine(OmegaConf.merge(DDP, {"devices": 3}))  # type: ignore[arg-type]
    assert trainer.devices == 3


def test_a_gpu_that_is_not_there_is_reported(gpu: bool) -> None:
    configuration = OmegaConf.create({"accelerator": "gpu", "devices": 1})
    if gpu:
        assert fitted_to_machine(configuration) == (configuration, None)
        return
    with pytest.raises(ValueError, match=r"trainer.accelerator=gpu needs a GPU .* choices: trainer=cpu, trainer=ddp"):
        fitted_to_machine(configuration)


def test_the_given_configuration_is_not_changed() -> None:
    fitted_to_machine(DDP)
    assert DDP == {"accelerator": "auto", "devices": "auto", "strategy": "ddp"}
