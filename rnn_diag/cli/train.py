"""The command `rnn-diag-train`: compose the configuration, build the run, fit, and print what came out."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any, Final

import hydra
from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig, OmegaConf

from rnn_diag.cli.configuration import configuration_directory
from rnn_diag.cli.overrides import checked_overrides, listed_choices

if TYPE_CHECKING:
    from rnn_diag.cli.assembly import Run

FULL_ERROR: Final = "HYDRA_FULL_ERROR"
"""Environment variable that, set to 1, asks for stack traces."""


def main() -> None:
    """Run the command line; with `-m`, once for every combination of its values."""
    from rnn_diag.cli.processes import inherited_configuration

    inherited = inherited_configuration()
    if inherited is not None:
        _reported(inherited)
        return
    _check_command_line()
    directory = configuration_directory()
    OmegaConf.register_new_resolver("listed_choices", lambda: listed_choices(directory), replace=True)  # of the help
    hydra.main(config_path=str(directory), config_name="train", version_base="1.3")(_reported)()


def train(configuration: DictConfig) -> Run:
    """Do the run that a configuration describes and return its parts, fitted.

    Nothing here needs Hydra's command line: a configuration from `hydra.compose` with an `output_dir` will do.
    """
    import lightning.pytorch as pl

    from rnn_diag.cli.assembly import assembled
    from rnn_diag.cli.processes import launching
    from rnn_diag.cli.summary import print_summary

    resolved = _resolved(configuration)
    with launching(resolved):
        pl.seed_everything(resolved.seed, workers=True, verbose=False)
        run = assembled(resolved)
        if run.note and run.trainer.global_rank == 0:
            print(run.note, file=sys.stderr)
        _log_configuration(run, resolved)
        start = time.perf_counter()
        run.trainer.fit(run.model, datamodule=run.task, ckpt_path=resolved.checkpoint)
        seconds = time.perf_counter() - start
        if resolved.test:
            run.trainer.test(run.model, datamodule=run.task, ckpt_path="best" if run.best else None, verbose=False)
        print_summary(run, seconds, resolved.output_dir)
    return run


def _reported(configuration: DictConfig) -> float | None:
    """Train; return the best monitored metric, for sweepers; end with one line where the user's input is at fault."""
    _quieten()
    try:
        run = train(configuration)
    except Exception as error:
        if os.environ.get(FULL_ERROR) == "1" or not _is_for_the_user(error):
            raise
        _quit(error)
    score = run.best.best_model_score if run.best is not None else None
    return None if score is None else float(score)


def _quieten() -> None:
    """Leave out what Lightning says of itself at every start; its warnings about the run stay."""
    import lightning.pytorch  # noqa: F401  (sets the levels that are lowered here)

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", module="lightning.pytorch.utilities._pytree")


def _is_for_the_user(error: Exception) -> bool:
    """Whether the error's message says what to change: it was raised by this package, or while building the run."""
    if (
        not isinstance(error, (ValueError, TypeError, RuntimeError))
        and type(error).__name__ != "MisconfigurationException"
    ):
        return False
    modules = []
    trace = error.__traceback__
    while trace is not None:
        modules.append(str(trace.tb_frame.f_globals.get("__name__")))
        trace = trace.tb_next
    return "rnn_diag.cli.assembly" in modules or modules[-1].startswith("rnn_diag.")


def _quit(error: Exception) -> None:
    message = " ".join(str(error).split())
    sys.exit(f"rnn-diag-train: {message} ({FULL_ERROR}=1 shows where)")


def _check_command_line() -> None:
    """Replace the overrides in `sys.argv` by checked ones, or end with one line that says what is wrong.

    They also move behind the flags, since argparse would not accept `task=adding -m cell=gru,lstm`.
    """
    sys.argv[1:] = sorted(sys.argv[1:], key=lambda word: "=" in word and not word.startswith("-"))
    arguments = get_args_parser().parse_args()
    own = arguments.config_dir or arguments.config_path or arguments.config_name
    if own or arguments.help or arguments.hydra_help or arguments.shell_completion or arguments.experimental_rerun:
        return
    try:
        checked = checked_overrides(arguments.overrides, configuration_directory(), sweeping=arguments.multirun)
    except ValueError as error:
        sys.exit(f"rnn-diag-train: {error}")
    replacement = dict(zip(arguments.overrides, checked, strict=True))
    sys.argv[1:] = [replacement.get(word, word) for word in sys.argv[1:]]


def _resolved(configuration: DictConfig) -> DictConfig:
    """Return the configuration without interpolations, so that it means the same in every process."""
    content: Any = OmegaConf.to_container(configuration, resolve=True)
    return OmegaConf.create({**content, "output_dir": os.path.abspath(content["output_dir"])})


def _log_configuration(run: Run, configuration: DictConfig) -> None:
    for logger in run.trainer.loggers:
        logger.log_hyperparams(OmegaConf.to_container(configuration))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
