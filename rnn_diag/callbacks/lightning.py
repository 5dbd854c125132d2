"""What is asked of Lightning, whichever of its two packages is there; the only place that reads a private name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from fsspec.core import url_to_fs

from rnn_diag.measurements.measure import GradientUnits
from rnn_diag.pending import Pending
from rnn_diag.reporting.tensorboard import write_scalars
from rnn_diag.terminal.visible import visible

try:
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.utilities import rank_zero_info
except ImportError:
    # Only the older package is installed. A trainer calls its callbacks' hooks and never asks for their class.
    from pytorch_lightning.callbacks import Callback  # type: ignore[assignment]
    from pytorch_lightning.utilities import rank_zero_info

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

__all__ = [
    "Callback",
    "all_ranks",
    "clip_factor",
    "gradient_units",
    "log_numbers",
    "logging_step",
    "run_folder",
    "say",
    "state_key",
    "trains_on_cpu",
    "writers_of",
]


def say(text: str) -> None:
    """Tell on rank zero what is no warning."""
    rank_zero_info(visible(text))


def logging_step(trainer: Trainer) -> int:
    """Return the step under which Lightning's own loggers would file what happens in this batch.

    It counts batches that led to an optimiser step, however many optimisers there are; `global_step` counts each.
    """
    step = getattr(trainer.fit_loop.epoch_loop, "_batches_that_stepped", trainer.global_step)
    return int(step)


def state_key(callback: Callback, **told_apart_by: Any) -> str:
    """Return under which key a checkpoint holds a callback's state: its class, and what tells it from others."""
    key: str = callback._generate_state_key(**told_apart_by)
    return key


def gradient_units(trainer: Trainer) -> GradientUnits:
    """Return the units of the running backward pass.

    The scaler's scale is taken out; so is the division by `accumulate_grad_batches`, which Lightning makes under
    automatic optimisation only. With several ranks the loss as trained is the mean of theirs.
    """
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    scale = 1.0 if scaler is None else float(scaler.get_scale())
    accumulated = trainer.accumulate_grad_batches if trainer.lightning_module.automatic_optimization else 1
    return GradientUnits(accumulated / scale / trainer.world_size, scaler is not None)


def trains_on_cpu(trainer: Trainer) -> bool:
    """Return whether training takes its time from the processors that run Python."""
    return trainer.strategy.root_device.type == "cpu"


def all_ranks(trainer: Trainer, mine: Any) -> list[Any]:
    """Return what every rank holds, in the ranks' order. All ranks must call this together."""
    if trainer.world_size == 1 or not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [mine]
    gathered: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, mine)
    return gathered


def writes(trainer: Trainer) -> bool:
    """Return whether this process writes pictures and files: rank zero alone, and not in a trial run."""
    return bool(trainer.is_global_zero and not getattr(trainer, "fast_dev_run", False))


def writers_of(trainer: Trainer) -> list[Any]:
    """Return the TensorBoard writers among the loggers' experiments, where this process writes."""
    if not writes(trainer):
        return []
    experiments = [getattr(logger, "experiment", None) for logger in trainer.loggers]
    return [e for e in experiments if hasattr(e, "add_image") and hasattr(e, "add_histogram_raw")]


def log_numbers(logger: Any, numbers: Mapping[str, float], step: int) -> None:
    """Log numbers; into TensorBoard as one event of many values, which is read as an event for each.

    Lightning's logger writes one event after another, and waits as often for the thread that takes them.
    """
    is_lightnings = type(logger).__module__.endswith("pytorch.loggers.tensorboard")
    if not is_lightnings or "log_metrics" in vars(logger):  # a method of one's own may do something else
        logger.log_metrics(dict(numbers), step=step)
        return
    prefix = f"{logger._prefix}{logger.LOGGER_JOIN_CHAR}" if logger._prefix else ""
    write_scalars(logger.experiment, {f"{prefix}{name}": value for name, value in numbers.items()}, step)


def run_folder(trainer: Trainer) -> str:
    """Return where a run may leave files: the folder of the first logger that has one for each run, or a new one.

    Without such a logger it is the next number in `rnn_diag/` under `default_root_dir`. Either may be remote.
    """
    own = (getattr(logger, "log_dir", None) for logger in trainer.loggers)
    if folder := next((str(one) for one in own if one and isinstance(one, str | PathLike)), ""):
        return folder.rstrip("/")
    system, root = url_to_fs(f"{trainer.default_root_dir}/rnn_diag")
    number = 0
    while system.exists(f"{root}/version_{number}"):
        number += 1
    return str(system.unstrip_protocol(f"{root}/version_{number}"))


@torch.no_grad()
def clip_factor(optimizer: Any, clip_value: float, algorithm: str = "norm") -> Pending[float]:
    """Return the length of the clipped gradient over its length before; 1 where nothing is clipped.

    Args:
        optimizer: Whose parameters are clipped together.
        clip_value: `Trainer(gradient_clip_val=...)`.
        algorithm: `norm` scales the whole gradient, `value` cuts each entry.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> clip_factor(torch.optim.SGD([weight]), 1.0).here()
        0.2
    """
    parameters = (one for group in optimizer.param_groups for one in group["params"])
    grads = [_entries(one.grad) for one in parameters if one.grad is not None]
    if not grads:
        return Pending.known(math.nan)
    cut = _norm([grad.clamp(-clip_value, clip_value) for grad in grads]) if algorithm.endswith("value") else None

    def factor(norm: torch.Tensor, cut: torch.Tensor | None) -> float:
        if not (math.isfinite(norm) and norm > 0):
            return math.nan
        return min(1.0, (clip_value if cut is None else float(cut)) / float(norm))

    return Pending([_norm(grads), cut], factor)


def _entries(grad: torch.Tensor) -> torch.Tensor:
    """Return the entries that are not zero of a sparse gradient, as embeddings have, or all of a dense one."""
    return grad.coalesce().values() if grad.is_sparse else grad


def _norm(grads: list[torch.Tensor]) -> torch.Tensor:
    norm: torch.Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(one.float()) for one in grads]))
    return norm
