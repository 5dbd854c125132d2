"""From a resolved configuration to the objects of a run: task, model and trainer."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from inspect import isfunction
from pathlib import Path
from typing import Any, Final

import lightning.pytorch as pl
import torch
from hydra.errors import InstantiationException
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar, TQDMProgressBar
from omegaconf import DictConfig, OmegaConf
from torch.optim import lr_scheduler

from rnn_diag import cells, models, nn, tasks
from rnn_diag.callbacks.attachment import DiagnosticCallback
from rnn_diag.cli.compose import argument_names
from rnn_diag.cli.hydra_versions import instantiate
from rnn_diag.interventions import initialization
from rnn_diag.interventions.flossing import gradient_flossing
from rnn_diag.models import SequenceModel
from rnn_diag.tasks import SequenceTask

CALLED: Final = ("_target_", "equations")
"""Keys whose text names what is called."""

NAMES_A_FILE: Final = ("path", "folder")
"""Arguments of tasks that name what is read."""


PACKAGES: Final = {"cell": (cells, nn), "model": (models,), "task": (tasks,)}
"""Whose public classes a group of the configuration may call."""

BASES: Final = {
    "optimizer": (torch.optim, torch.optim.Optimizer),
    "scheduler": (lr_scheduler, lr_scheduler.LRScheduler),
}
"""The classes of which module, and of which kind, a group may call."""


class Bar(RichProgressBar if find_spec("rich") else TQDMProgressBar):  # type: ignore[misc]
    """A progress bar without the version number, which a run in a folder of its own does not have."""

    def get_metrics(self, *run: Any) -> dict[str, Any]:
        """Return the metrics shown next to the bar."""
        return {name: value for name, value in super().get_metrics(*run).items() if name != "v_num"}


@dataclass(frozen=True)
class Run:
    """What a configuration describes, ready to fit.

    Attributes:
        task: The data module.
        model: The model, built for the task.
        trainer: The trainer, with loggers and callbacks.
        best: Keeps the best and the last checkpoint; None where checkpoints are switched off.
    """

    task: SequenceTask
    model: SequenceModel
    trainer: pl.Trainer
    best: ModelCheckpoint | None


def assembled(configuration: DictConfig) -> Run:
    """Build everything that a resolved configuration names.

    Raises:
        ValueError: If a value is out of range, task and model do not match, or a file is missing.
        TypeError: If a value has the wrong type.
    """
    _check_accelerator(configuration.trainer)
    _check_checkpoint(configuration.checkpoint)
    task = _built(configuration, "task")
    model = _model(configuration, task)
    best = _checkpoints(configuration, model)
    callbacks = [*_built_each(configuration, "callbacks"), *([best] if best else [])]
    for one in callbacks:
        if isinstance(one, DiagnosticCallback):
            one.command_line = True
    if configuration.trainer.get("enable_progress_bar", True) and not configuration.trainer.get("barebones"):
        callbacks.append(Bar())
    loggers = _built_each(configuration, "logger")
    trainer = _built(configuration, "trainer")(callbacks=callbacks, logger=loggers or False)
    return Run(task, model, trainer, best)


def instantiated(node: Any, name: str) -> Any:
    """Return what a node configures; the error of the thing itself comes out, led by the node's name.

    Raises:
        ValueError: If a value is out of range, or a file or package is missing.
        TypeError: If a value has the wrong type, or an argument is not known.
    """
    try:
        made = instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, (ValueError, TypeError, OSError, ImportError)):
            kind = TypeError if isinstance(cause, TypeError) else ValueError
            raise kind(f"{name}: {cause}") from cause
        raise
    if isinstance(made, partial):
        _check_arguments(made, name)
    return made


def check_targets(configuration: DictConfig, given: Collection[str] = ()) -> None:
    """Refuse a configuration that would call anything but the parts of a run, or read a file that it names.

    Nothing is imported to find out. A target must be one of the known classes itself, under whatever name.

    Args:
        configuration: Resolved.
        given: Options that the user names on the command line, and so vouches for.

    Raises:
        ValueError: If it would, with what and where.
    """
    for where, value in _instructions(OmegaConf.to_container(configuration)):
        key = where.rpartition(".")[2]
        if key in NAMES_A_FILE:
            if where in given:
                continue
            why = f"would be read; give {where}=... as well, if it should be"
        elif key in CALLED:
            if any(_already_imported(value) is one for one in _parts_of_a_run(where)):
                continue
            why = (
                "would be called; expected a cell, task, model, initialization, optimizer or scheduler of rnn_diag or "
                "torch, each where it belongs; --trust calls it"
            )
        else:
            why = "would become something else; --trust takes it"
        raise ValueError(f"{where}={value!r} comes with the checkpoint and {why}")


def _parts_of_a_run(where: str) -> Iterator[object]:
    """Yield what may be called at a position in the configuration."""
    group = where.partition(".")[0]
    if where == "trainer._target_":
        yield pl.Trainer
    elif group == "cell":
        yield from (torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU)
    for module in PACKAGES.get(group, ()):
        yield from (one for name in module.__all__ if isinstance(one := getattr(module, name), type))
    if group in BASES:
        module, base = BASES[group]
        yield from (one for one in vars(module).values() if isinstance(one, type) and issubclass(one, base))
    elif group == "initialization":
        made_here = (one for one in vars(initialization).values() if isfunction(one))
        yield from (one for one in made_here if one.__module__ == initialization.__name__)
        yield gradient_flossing


def _instructions(node: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what a configuration would have called or read, and texts that might yet become something else."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        inside = f"{where}.{key}".lstrip(".")
        text = isinstance(value, str)
        called = key == "_target_" or (key == "equations" and text)
        read = key in NAMES_A_FILE and value is not None
        if called or read or key == "_args_" or (text and "${" in value):
            yield inside, value
        yield from _instructions(value, inside)


def _already_imported(target: Any) -> object:
    """Return what an imported module holds under a dotted name, without asking anything of it; None if nothing."""
    module, _, name = str(target).rpartition(".")
    found = sys.modules.get(module)
    return None if found is None else vars(found).get(name)


def _check_arguments(made: partial[Any], name: str) -> None:
    """Refuse arguments that will not be understood when the rest is known."""
    try:
        inspect.signature(made)
    except ValueError:
        known = argument_names(f"{made.func.__module__}.{made.func.__qualname__}")
        unknown = sorted(set(made.keywords) - set(known))
        raise TypeError(f"{name}.{' '.join(unknown)} is not known; choices: {', '.join(known)}") from None


def _model(configuration: DictConfig, task: SequenceTask) -> SequenceModel:
    build = _built(configuration, "model")
    model: SequenceModel = build(
        recurrent=_built(configuration, "cell"),
        optimizer=_built(configuration, "optimizer"),
        scheduler=_built(configuration, "scheduler") or None,
        initialization=_built_each(configuration, "initialization"),
        **build.func.options_for(task.spec),
    )
    return model


def _checkpoints(configuration: DictConfig, model: SequenceModel) -> ModelCheckpoint | None:
    if configuration.trainer.get("enable_checkpointing") is False:
        return None
    validates = configuration.trainer.get("limit_val_batches", 1) != 0
    return ModelCheckpoint(
        dirpath=Path(configuration.output_dir) / "checkpoints",
        filename="best",
        monitor=model.monitor if validates else None,
        mode=model.monitor_mode,
        save_last=True,
    )


def _check_accelerator(trainer: DictConfig) -> None:
    wanted = trainer.get("accelerator", "auto")
    has_one = torch.cuda.is_available() or (wanted == "gpu" and torch.backends.mps.is_available())
    if wanted in ("gpu", "cuda") and not has_one:
        raise ValueError(
            f"trainer.accelerator={wanted!r}; expected a GPU, and torch {torch.__version__} finds none; "
            "choices: trainer=cpu, trainer=ddp_cpu"
        )


def _check_checkpoint(file: str | None) -> None:
    if file is not None and not Path(file).is_file():
        raise ValueError(f"checkpoint={file!r}; expected a .ckpt file such as outputs/.../checkpoints/last.ckpt")


def _built(configuration: DictConfig, group: str) -> Any:
    return instantiated(configuration[group], group)


def _built_each(configuration: DictConfig, group: str) -> list[Any]:
    for name, node in configuration[group].items():
        if "_target_" not in node:
            raise ValueError(f"{group}.{name} is not part of this run; expected {group}=[{name}] as well")
    return [instantiated(node, f"{group}.{name}") for name, node in configuration[group].items()]
