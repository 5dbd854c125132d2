"""What a trainer configuration means on this machine: which devices there are, and what stands in for those missing."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig, open_dict


def fitted_to_machine(trainer: DictConfig) -> tuple[DictConfig, str | None]:
    """Return the trainer configuration for the devices that there are, and a line to tell the user if they differ.

    Distribution (`strategy: ddp`) over devices left to choose uses all GPUs, or two CPU processes where there is none.

    Raises:
        ValueError: If a GPU is asked for and there is none.
    """
    accelerator, strategy = trainer.get("accelerator", "auto"), str(trainer.get("strategy", "auto"))
    cuda = torch.cuda.is_available()
    if accelerator in ("gpu", "cuda") and not cuda and not (accelerator == "gpu" and torch.backends.mps.is_available()):
        raise ValueError(
            f"trainer.accelerator={accelerator} needs a GPU and torch {torch.__version__} finds none; "
            "choices: trainer=cpu, trainer=ddp (on two CPU processes)"
        )
    if accelerator != "auto" or not strategy.startswith("ddp"):
        return trainer, None
    if cuda:
        return _with(trainer, accelerator="gpu"), None
    devices = 2 if trainer.get("devices", "auto") == "auto" else trainer.devices
    fitted = _with(trainer, accelerator="cpu", devices=devices)
    return fitted, f"No GPU found: {devices} CPU processes (gloo) share every step."


def _with(trainer: DictConfig, **changes: Any) -> DictConfig:
    changed = trainer.copy()
    with open_dict(changed):
        changed.update(changes)
    return changed
