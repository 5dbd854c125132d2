"""The command `rnn-diag-doctor`: examine a configuration or a checkpoint on one batch, without training."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from rnn_diag.doctor import Report

LEVELS = ("advice", "warning", "critical")

BARE = ["callbacks=none", "logger=none", "trainer=cpu", "trainer.enable_checkpointing=false"]
"""What an examination needs none of."""

NOT_ASKED = ("callbacks", "logger", "trainer", "hydra", "output_dir", "checkpoint")
"""Options of a run that an examination does without."""

EXAMPLES = """examples:
  rnn-diag-doctor task=adding cell=rnn --json before.json
  rnn-diag-doctor task=adding cell=rnn "initialization=[identity]" --json after.json
  rnn-diag-doctor --compare before.json after.json
  rnn-diag-doctor --checkpoint outputs/.../checkpoints/last.ckpt"""


def main(words: Sequence[str] | None = None) -> None:
    """Examine, print the report, and end with 1 where a finding is as bad as `--fail-on` says."""
    arguments = _parser().parse_args(words)
    try:
        if arguments.compare:
            print(_compared(*arguments.compare))
            return
        report = examined(arguments.overrides, arguments.checkpoint, arguments.sequences)
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        sys.exit(f"rnn-diag-doctor: {' '.join(str(error).split())}")
    _show(report)
    if arguments.json:
        Path(arguments.json).write_text(report.to_json())
    if arguments.fail_on and report.severity >= _level(arguments.fail_on):
        sys.exit(1)


def examined(overrides: Sequence[str], checkpoint: str | None = None, sequences: int = 8) -> Report:
    """Return the report on the run that some overrides describe: its first batch, forward and backward.

    Args:
        overrides: As for `rnn-diag-train`, such as `task=adding cell=gru`.
        checkpoint: Its weights are taken; if it lies where `rnn-diag-train` wrote it, so is its configuration, which
            the overrides then change.
        sequences: How many sequences of the batch are looked at.

    Raises:
        ValueError: If an override is not understood, or the weights do not fit the model.
    """
    import lightning.pytorch as pl

    from rnn_diag.cli.assembly import assembled
    from rnn_diag.doctor import examine

    if checkpoint is not None and not Path(checkpoint).is_file():
        raise ValueError(f"checkpoint {checkpoint!r} is no file; expected a .ckpt file")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    configuration = _composed([*_overrides_of(checkpoint), *overrides])
    pl.seed_everything(configuration.seed, workers=True, verbose=False)
    run = assembled(configuration)
    if checkpoint is not None:
        _load(run.model, checkpoint)
    run.task.prepare_data()
    run.task.setup("fit")
    batch = next(iter(run.task.train_dataloader()))
    clip = configuration.trainer.get("gradient_clip_val")
    return examine(run.model, batch, _loss, sequences, clip).for_command_line()


def _loss(model: Any, batch: Any) -> Any:
    return model.loss(*model.scored(model.outputs(batch, "train"), batch))


def _composed(overrides: Sequence[str]) -> DictConfig:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from rnn_diag.cli.configuration import configuration_directory
    from rnn_diag.cli.overrides import checked_overrides

    directory = configuration_directory()
    kept = [word for word in overrides if word.lstrip("+~").split("=")[0].split(".")[0] not in NOT_ASKED]
    clip = [word for word in overrides if word.lstrip("+").startswith("trainer.gradient_clip_val=")]
    checked = checked_overrides([*kept, *clip, *BARE, "output_dir=."], directory, sweeping=False)
    with initialize_config_dir(str(directory), version_base="1.3"):
        configuration = compose("train", overrides=checked)
    content: Any = OmegaConf.to_container(configuration, resolve=True)
    return OmegaConf.create({**content, "callbacks": {}, "logger": {}, "checkpoint": None})


def _overrides_of(checkpoint: str | None) -> list[str]:
    """Return the overrides of the run that wrote a checkpoint, where they are found beside it."""
    from omegaconf import OmegaConf

    if checkpoint is None:
        return []
    file = Path(checkpoint).resolve().parent.parent / ".hydra" / "overrides.yaml"
    return [str(word) for word in OmegaConf.load(file)] if file.is_file() else []


def _load(model: Any, checkpoint: str) -> None:
    import torch

    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"the weights of {checkpoint!r} do not fit this configuration; expected the overrides that it was trained "
            f"with, such as task=... cell=...: {error}"
        ) from error


def _compared(before: str, after: str) -> str:
    from rnn_diag.doctor import Report, compare

    return str(compare(Report.read(before), Report.read(after)))


def _show(report: Report) -> None:
    from rnn_diag.terminal import Console

    console = Console()
    console.print(report)
    step, measuring = (report.seconds[name] for name in ("step", "measuring"))
    console.print(
        f"\nloss {report.loss:.4g}; one step forward and backward took {step:.2g} s, examining it {measuring:.2g} s",
        highlight=False,
    )


def _level(word: str) -> int:
    from rnn_diag.doctor import Severity

    return Severity[word.upper()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rnn-diag-doctor",
        description="Examine a network on one batch, before or after training: what is wrong, and what to try first.\n"
        "Nothing is trained and nothing is written unless asked for.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="WORD",
        help="group=choice or option=value, as for rnn-diag-train; rnn-diag-train --help lists them",
    )
    parser.add_argument("--checkpoint", metavar="FILE", help="take the weights, and the run's configuration, from here")
    parser.add_argument("--sequences", metavar="N", type=int, default=8, help="look at so many sequences (default: 8)")
    parser.add_argument("--json", metavar="FILE", help="write the report here")
    parser.add_argument(
        "--fail-on",
        choices=LEVELS,
        metavar="SEVERITY",
        help=f"end with exit status 1 if a finding is as bad as this: {', '.join(LEVELS)}",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("BEFORE", "AFTER"),
        help="say what differs between two reports, and do no more; a doctor.json of a run is one, too",
    )
    return parser


if __name__ == "__main__":
    main()
