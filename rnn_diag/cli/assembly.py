"""From a resolved configuration to the objects of a run: task, model and trainer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig

from rnn_diag.callbacks.attachment import DiagnosticCallback
from rnn_diag.cli.instantiation import instantiated
from rnn_diag.cli.machine import fitted_to_machine
from rnn_diag.cli.progress import ProgressBar
from rnn_diag.models import SequenceModel
from rnn_diag.tasks import SequenceTask


@dataclass(frozen=True)
class Run:
    """What a configuration describes, ready to fit.

    Attributes:
        task: The data module.
        model: The model, built for the task.
        trainer: The trainer, with loggers and callbacks.
        best: Keeps the best and the last checkpoint; None where checkpoints are switched off.
        note: What the user should know about the machine, if anything.
    """

    task: SequenceTask
    model: SequenceModel
    trainer: pl.Trainer
    best: ModelCheckpoint | None
    note: str | None


def assembled(configuration: DictConfig) -> Run:
    """Build everything that a resolved configuration names.

    Raises:
        ValueError: If a value is out of range, task and model do not match, or a file is missing.
        TypeError: If a value has the wrong type.
    """
    trainer_configuration, note = fitted_to_machine(configuration.trainer)
    _check_checkpoint(configuration.checkpoint)
    task = _built(configuration, "task")
    model = _model(configuration, task)
    best = _checkpoints(configuration, model)
    callbacks = [*_built_each(configuration, "callbacks"), *([best] if best else [])]
    for one in callbacks:
        if isinstance(one, DiagnosticCallback):
            one.command_line = True
    if trainer_configuration.get("enable_progress_bar", True):
        callbacks.append(ProgressBar())
    loggers = _built_each(configuration, "logger")
    trainer = instantiated(trainer_configuration, "trainer")(callbacks=callbacks, logger=loggers or False)
    return Run(task, model, trainer, best, note)


def _model(configuration: DictConfig, task: SequenceTask) -> SequenceModel:
    build = _built(configuration, "model")
    model: SequenceModel = build(
        recurrent=_built(configuration, "cell"),
        optimizer=_built(configuration, "optimizer"),
        scheduler=_built(configuration, "scheduler") or None,
        initialization=_built_each(configuration, "initialization"),
        **build.func.options_for(task.spec),
    )
    model.configure_optimizers()  # An optimizer that does not accept its arguments says so now.
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


def _check_checkpoint(file: str | None) -> None:
    if file is not None and not Path(file).is_file():
        raise ValueError(
            f"checkpoint={file!r} is no file; expected a .ckpt file such as outputs/.../checkpoints/last.ckpt"
        )


def _built(configuration: DictConfig, group: str) -> Any:
    return instantiated(configuration[group], group)


def _built_each(configuration: DictConfig, group: str) -> list[Any]:
    for name, node in configuration[group].items():
        if "_target_" not in node:
            raise ValueError(f"{group}.{name} is not part of this run; expected {group}=[{name}] beside its options")
    return [instantiated(node, f"{group}.{name}") for name, node in configuration[group].items()]
