"""Several processes for one run: each finds the same configuration, and nothing stays behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch
from omegaconf import DictConfig, OmegaConf

RUN_CONFIGURATION: Final = "RNN_DIAG_RUN_CONFIGURATION"
"""Environment variable that names the configuration of the run that this process was started to help."""


def inherited_configuration() -> DictConfig | None:
    """Return the configuration of the run that started this process as one of its ranks, or None."""
    file = os.environ.get(RUN_CONFIGURATION)
    if file is None:
        return None
    configuration = OmegaConf.load(file)
    assert isinstance(configuration, DictConfig)
    return configuration


STARTED_BY: Final = (("WORLD_SIZE", "RANK"), ("SLURM_NTASKS", "SLURM_PROCID"))
"""In which variables torchrun and srun say how many processes they started, and which of them this is."""
WRITES_NOTHING: Final = ("hydra.run.dir=.", "hydra.output_subdir=null")
"""Overrides of a rank for which rank zero writes."""


def is_started_to_help() -> bool:
    """Return whether torchrun or srun started this process as another rank than zero."""
    numbers = ((os.environ.get(count, "1"), os.environ.get(rank, "0")) for count, rank in STARTED_BY)
    return any(count.isdecimal() and rank.isdecimal() and 0 < int(rank) < int(count) for count, rank in numbers)


@contextmanager
def launching(configuration: DictConfig) -> Iterator[None]:
    """Let the processes that Lightning starts inside the block take part in this run.

    Lightning starts a further rank as the same command line. A rank that read it again would choose an output folder of
    its own, and in a sweep run the whole sweep; so it is told where the resolved configuration lies instead.
    Afterwards the process group and the environment variables are as before, so that the next run of a sweep starts
    its own.

    Args:
        configuration: Resolved; it is written to `run.yaml` in its `output_dir`, by rank zero.
    """
    if RUN_CONFIGURATION in os.environ or is_started_to_help():
        yield
        return
    before = dict(os.environ)
    file = Path(configuration.output_dir).absolute() / "run.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(configuration, file)
    os.environ[RUN_CONFIGURATION] = str(file)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
