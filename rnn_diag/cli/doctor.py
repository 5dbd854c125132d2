"""The command `rnn-diag-doctor`: examine a configuration or a checkpoint on one batch, without training."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rnn_diag.errors import ends_with_one_line
from rnn_diag.terminal.lasting import outlive_the_terminal

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from rnn_diag.doctor import Report

PROGRAM: Final = "rnn-diag-doctor"

CLIPPING: Final = "trainer.gradient_clip_val"
"""The one option of a trainer that findings depend on."""

LONGEST: Final = 1 << 16
"""Bytes of a run's overrides."""

LEVELS = ("advice", "warning", "critical")

BARE = ["callbacks=none", "logger=none", "trainer=cpu", "trainer.enable_checkpointing=false"]
"""What an examination needs none of."""

NOT_ASKED = ("callbacks", "logger", "trainer", "hydra", "sweep", "debug", "output_dir", "checkpoint")
"""Options of a run that an examination does without."""

EXAMPLES = """examples:
  rnn-diag-doctor task=adding cell=rnn --json before.json
  rnn-diag-doctor task=adding cell=rnn "initialization=[identity]" --json after.json
  rnn-diag-doctor --compare before.json after.json
  rnn-diag-doctor --checkpoint outputs/.../checkpoints/last.ckpt"""


def main(words: Sequence[str] | None = None) -> None:
    """Examine, print the report, and end with 1 where a finding reaches the severity of `--fail-on`."""
    if words is None:
        outlive_the_terminal()
    arguments = _parser().parse_args(words)
    with ends_with_one_line(PROGRAM, ValueError, TypeError, RuntimeError, OSError, ModuleNotFoundError):
        if arguments.compare:
            print(_compared(*arguments.compare))
            return
        report = examined(arguments.overrides, arguments.checkpoint, arguments.sequences, arguments.trust)
    _show(report)
    if arguments.json:
        Path(arguments.json).write_text(report.to_json())
    if arguments.fail_on and report.severity >= _level(arguments.fail_on):
        sys.exit(1)


def examined(
    overrides: Sequence[str], checkpoint: str | None = None, sequences: int = 8, trust: bool = False
) -> Report:
    """Return the report on the run that some overrides describe: its first batch, forward and backward.

    Args:
        overrides: As for `rnn-diag-train`, such as `task=adding cell=gru`.
        checkpoint: Its weights are taken; if it lies where `rnn-diag-train` wrote it, so is its configuration, which
            the overrides then change.
        sequences: How many sequences of the batch are looked at.
        trust: Whether the checkpoint's configuration may name anything: what it names is called and read.

    Raises:
        ValueError: If an override is not understood, the checkpoint cannot be read, its weights do not fit the model,
            or its configuration would call something that is no part of a run, or read a file.
    """
    import lightning.pytorch as pl

    from rnn_diag.cli.build import assembled, check_targets
    from rnn_diag.cli.compose import SEARCH_PATH
    from rnn_diag.doctor import examine

    if checkpoint is not None and not Path(checkpoint).is_file():
        raise ValueError(f"checkpoint={checkpoint!r}; expected a .ckpt file")
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    words = _overrides_of(checkpoint)
    if words and not trust:
        words = _plain(words)
        elsewhere = [word for word in overrides if _key(word) == SEARCH_PATH]
        check_targets(_composed([*elsewhere, *words]), set(map(_key, overrides)))
    configuration = _composed([*words, *overrides])
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
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    from rnn_diag.cli.compose import SEARCH_PATH, checked_overrides, composed

    kept = [word for word in overrides if _key(word) == SEARCH_PATH or _is_asked(word)]
    try:
        configuration = composed("train", checked_overrides([*kept, *BARE, "output_dir=."]))
    except HydraException as error:
        raise ValueError(str(error)) from error
    content: Any = OmegaConf.to_container(configuration, resolve=True)
    return OmegaConf.create({**content, "callbacks": {}, "logger": {}, "checkpoint": None})


def _plain(words: Sequence[str]) -> list[str]:
    """Return those words of a checkpoint that concern an examination, if each picks a choice or sets an option.

    Raises:
        ValueError: If one of them would add a configuration file or be computed from something else.
    """
    asked = list(filter(_is_asked, words))
    for word in asked:
        key, added = _key(word), word.startswith("+")
        if "${" in word or set("@/~") & set(word.partition("=")[0]) or (added and "." not in key):
            raise ValueError(
                f"{word!r} comes with the checkpoint; expected group=choice or group.option=value; --trust takes it"
            )
    return asked


def _is_asked(word: str) -> bool:
    """Return whether a word concerns an examination."""
    return _group(word) not in NOT_ASKED or _key(word) == CLIPPING


def _key(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def _group(word: str) -> str:
    return re.split("[=./@]", word.lstrip("+~"), maxsplit=1)[0]


def _overrides_of(checkpoint: str | None) -> list[str]:
    """Return the overrides of the run that wrote a checkpoint, where they are found in its folder."""
    import yaml

    if checkpoint is None:
        return []
    file = Path(checkpoint).resolve().parent.parent / ".hydra" / "overrides.yaml"
    if not file.is_file():
        return []
    try:
        with file.open("rb") as stream:
            content = stream.read(LONGEST + 1)
        words: Any = yaml.safe_load(content) if len(content) <= LONGEST else f"more than {LONGEST} bytes"
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{file} cannot be read as the overrides of a run: {error}") from error
    if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise ValueError(f"{file} cannot be read as the overrides of a run; expected a list of words such as cell=gru")
    return words


def _load(model: Any, checkpoint: str) -> None:
    import torch

    from rnn_diag.cli.train import misfit

    try:
        weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:  # of whatever the bytes of a damaged file lead to
        reason = str(error).partition("\n")[0][:200]
        raise ValueError(f"checkpoint={checkpoint!r} holds no weights that can be read safely: {reason}") from error
    try:
        model.load_state_dict(weights)
    except Exception as error:  # of whatever they hold instead of tensors
        raise ValueError(misfit(checkpoint, error)) from error


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
        prog=PROGRAM,
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
    parser.add_argument(
        "--trust",
        action="store_true",
        help="let the checkpoint's configuration call what it names, also outside this package; "
        "only for folders whose author may run programs as you",
    )
    parser.add_argument("--sequences", metavar="N", type=int, default=8, help="look at N sequences (default: 8)")
    parser.add_argument("--json", metavar="FILE", help="write the report here")
    parser.add_argument(
        "--fail-on",
        choices=LEVELS,
        metavar="SEVERITY",
        help=f"end with exit status 1 if a finding is at least this severe: {', '.join(LEVELS)}",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("BEFORE", "AFTER"),
        help="say what differs between two reports (a run's doctor.json is one), and do no more",
    )
    return parser


if __name__ == "__main__":
    main()
