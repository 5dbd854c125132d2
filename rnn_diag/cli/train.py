"""The command `rnn-diag-train`: compose the configuration, build the run, fit, and print what came out."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from rnn_diag.errors import ends_with_one_line
from rnn_diag.terminal.lasting import outlive_the_terminal

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from rnn_diag.cli.build import Run

PROGRAM: Final = "rnn-diag-train"

FULL_ERROR: Final = "HYDRA_FULL_ERROR"
"""Environment variable that, set to 1, asks for stack traces."""

ANSWERED_BY_HYDRA: Final = re.compile(
    r"(-h|--help|--hydra-help|-sc|--shell-completion|-i|--info|-cd|--config-dir|-cp|--config-path|-cn|--config-name"
    r"|--experimental-rerun)(=.*)?"
)
"""Flags with which the words are not this package's to check."""


def main() -> None:
    """Run the command line; with `-m`, once for every combination of its values."""
    outlive_the_terminal()
    with ends_with_one_line(PROGRAM, ModuleNotFoundError):
        import hydra

        from rnn_diag.cli.compose import checked_overrides, configuration_directory, register_resolvers, split_words
        from rnn_diag.cli.hydra_versions import VERSION
        from rnn_diag.cli.ranks import WRITES_NOTHING, inherited_configuration, is_started_to_help

    inherited = inherited_configuration()
    if inherited is not None:
        reported(inherited)
        return
    flags, overrides = split_words(sys.argv[1:])
    if not any(map(ANSWERED_BY_HYDRA.fullmatch, flags)):
        with ends_with_one_line(PROGRAM, ValueError):
            overrides = checked_overrides(overrides, sweeping=bool({"-m", "--multirun"} & set(flags)))
    overrides += WRITES_NOTHING if is_started_to_help() else ()
    sys.argv[1:] = [*flags, *overrides]  # Hydra's parser would not take `task=adding -m cell=gru,lstm`.
    register_resolvers()
    hydra.main(config_path=str(configuration_directory()), config_name="train", **VERSION)(reported)()


def reported(configuration: DictConfig) -> float:
    """Train; return the best monitored metric, for sweepers; end with one line where the user's input is at fault."""
    _quieten()
    try:
        run = train(configuration)
    except Exception as error:
        if os.environ.get(FULL_ERROR) == "1" or not _is_for_the_user(error):
            raise
        hint = "out of memory; try a smaller task.batch_size: " if _out_of_memory(error) else ""
        sys.exit(f"{PROGRAM}: {hint}{' '.join(str(error).split())} ({FULL_ERROR}=1 shows where)")
    return _score(run, configuration.get("objective"))


def train(configuration: DictConfig) -> Run:
    """Do the run that a configuration describes and return its parts, fitted.

    Nothing here needs Hydra's command line: a configuration from `hydra.compose` with an `output_dir` will do.
    """
    import lightning.pytorch as pl
    from lightning.pytorch.utilities.exceptions import SIGTERMException
    from omegaconf import OmegaConf

    from rnn_diag.cli.build import assembled
    from rnn_diag.cli.ranks import launching
    from rnn_diag.cli.summary import print_summary

    resolved = _resolved(configuration)
    with launching(resolved):
        pl.seed_everything(resolved.seed, workers=True, verbose=False)
        run = assembled(resolved)
        for logger in run.trainer.loggers:
            logger.log_hyperparams(OmegaConf.to_container(resolved))  # type: ignore[arg-type]
        start = time.perf_counter()
        try:
            _fit(run, resolved.checkpoint)
            if resolved.test:
                _test(run)
        except SIGTERMException:
            print_summary(run, time.perf_counter() - start, resolved.output_dir)
            sys.exit(128 + signal.SIGTERM)  # Lightning's own exit would say that all went well.
        except BaseException:
            if run.trainer.global_step:
                print_summary(run, time.perf_counter() - start, resolved.output_dir)
            raise
        print_summary(run, time.perf_counter() - start, resolved.output_dir)
    return run


def _fit(run: Run, checkpoint: str | None) -> None:
    try:
        run.trainer.fit(run.model, datamodule=run.task, ckpt_path=checkpoint)
    except Exception as error:
        if checkpoint is None or not _while_loading(error):
            raise
        raise ValueError(misfit(checkpoint, error)) from error


def _while_loading(error: Exception) -> bool:
    """Return whether an error was raised while a checkpoint was read or put into the model, optimizer or callbacks."""
    return any(name.endswith(".checkpoint_connector") for name, _ in _frames(error))


def misfit(checkpoint: str, error: Exception) -> str:
    """Return the message for a checkpoint that cannot be read, or whose weights belong to another model."""
    if not re.search("state_?dict|state dict|parameter group", str(error)):
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"checkpoint={checkpoint!r} cannot be read as a checkpoint of rnn-diag-train: {reason[:200]}"
    first = next((line for line in str(error).splitlines()[1:] if line.strip()), str(error)).strip()
    return (
        f"checkpoint={checkpoint!r} does not fit this configuration; expected the words that it was trained with, "
        f"such as task=... cell=...: {first[:200]}"
    )


def _test(run: Run) -> None:
    """Test the best weights; what training and validation measured stays known, though Lightning forgets it."""
    best = run.best.best_model_path if run.best is not None else ""
    if not best:
        _say(run, "test=true scores the last weights: the run ended before a checkpoint was validated")
    measured = dict(run.trainer.callback_metrics)
    run.trainer.test(run.model, datamodule=run.task, ckpt_path=best or None, verbose=False)
    tested = dict(run.trainer.callback_metrics)
    run.trainer.callback_metrics.update({**measured, **tested})


def _score(run: Run, objective: str | None) -> float:
    """Return what a sweep is given: the best value of the model's metric, or the last of the numbers of a name.

    A run without it is taken for the worst, and one line says why.
    """
    metrics = run.trainer.callback_metrics
    if objective is not None:
        values = [float(value) for name, value in metrics.items() if fnmatchcase(name, objective)]
        if values and not math.isnan(mean := sum(values) / len(values)):
            return mean
        _say(run, _missing(objective, values, metrics))
        return _worst(run)
    score = run.best.best_model_score if run.best is not None else None
    if score is None:
        score = metrics.get(run.model.monitor)
    if score is not None and not math.isnan(score):
        return float(score)
    if score is None and run.trainer.limit_val_batches:
        _say(run, f"the run ended before {run.model.monitor} was measured; a sweep takes it for the worst")
    elif score is not None:
        _say(run, f"{run.model.monitor} is not a number; a sweep takes it for the worst")
    return _worst(run)


def _worst(run: Run) -> float:
    """Return the worst score there can be, in the sweep's own direction or else in that of the model's metric."""
    from hydra.core.hydra_config import HydraConfig

    sweeper = HydraConfig.get().sweeper if HydraConfig.initialized() else {}
    direction = sweeper.get("direction") or run.model.monitor_mode
    return -math.inf if "max" in str(direction) else math.inf


def _missing(objective: str, values: Sequence[float], metrics: Mapping[str, object]) -> str:
    if values:
        return f"objective={objective!r} is not a number; a sweep takes it for the worst"
    choices = ", ".join(sorted(metrics)) or "none"
    return f"objective={objective!r} was not measured; a sweep takes it for the worst; choices: {choices}"


def _say(run: Run, line: str) -> None:
    if run.trainer.global_rank == 0:
        print(f"{PROGRAM}: {line}", file=sys.stderr)


def _quieten() -> None:
    """Leave out what Lightning says of itself at every start; its warnings about the run stay."""
    import lightning.pytorch  # noqa: F401  (sets the levels that are lowered here)

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*could not find the monitored key.*")  # `_score` says it in one line.
    warnings.filterwarnings("ignore", module="lightning.pytorch.utilities._pytree")


def _is_for_the_user(error: Exception) -> bool:
    """Return whether the error's message says what to change.

    It does if this package raised it, or if it was raised while the run was built or the optimizer made.
    """
    if _out_of_memory(error):
        return True
    kinds = (ValueError, TypeError, RuntimeError, ModuleNotFoundError)
    if not isinstance(error, kinds) and type(error).__name__ != "MisconfigurationException":
        return False
    frames = _frames(error)
    building = any(name == "rnn_diag.cli.build" or function == "configure_optimizers" for name, function in frames)
    return building or frames[-1][0].startswith("rnn_diag.")


def _out_of_memory(error: Exception) -> bool:
    import torch

    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def _frames(error: Exception) -> list[tuple[str, str]]:
    """Return the module and the function of every frame that an error passed through, the innermost last."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return [(str(frame.f_globals.get("__name__")), frame.f_code.co_name) for frame in frames]


def _resolved(configuration: DictConfig) -> DictConfig:
    """Return the configuration without interpolations, so that it means the same in every process."""
    from omegaconf import OmegaConf

    from rnn_diag.cli.compose import register_resolvers

    register_resolvers()  # in a process that a launcher started
    content: Any = OmegaConf.to_container(configuration, resolve=True)
    return OmegaConf.create({**content, "output_dir": os.path.abspath(content["output_dir"])})


if __name__ == "__main__":
    main()
