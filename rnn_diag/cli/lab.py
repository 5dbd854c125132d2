"""The command `rnn-diag-lab`: run experiments, say what each found, and write the report."""

from __future__ import annotations

import json
import os
import pkgutil
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rnn_diag.errors import ends_with_one_line
from rnn_diag.lab import Experiment, experiments
from rnn_diag.terminal.lasting import outlive_the_terminal

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from rnn_diag.lab.report.run import Attempt

ALL: Final = "all"
"""The word for every experiment."""

PROGRAM: Final = "rnn-diag-lab"


def main() -> None:
    """Run the experiments that the command line names; without any, list them."""
    outlive_the_terminal()
    words = sys.argv[1:]
    if not words or {"-h", "--help"} & set(words):
        print(overview())
        return
    if find_spec("matplotlib") is None:
        print(f"{PROGRAM}: the figures need matplotlib; install it with: pip install 'rnn_diag[plot]'", file=sys.stderr)
        sys.exit(2)
    with ends_with_one_line(PROGRAM, ValueError, ModuleNotFoundError):
        import hydra

        from rnn_diag.cli.compose import configuration_directory
        from rnn_diag.cli.hydra_versions import VERSION

        sys.argv[1:] = understood(words)
    hydra.main(config_path=str(configuration_directory()), config_name="lab", **VERSION)(_reported)()


def experiment_names() -> list[str]:
    """Return the names of all experiments: those of their files."""
    return sorted(module.name for module in pkgutil.iter_modules(experiments.__path__))


@cache
def experiment_classes() -> Mapping[str, type[Experiment]]:
    """Return every experiment's class by name, in the order of the theory."""
    classes = {name: _class(name) for name in experiment_names()}
    return dict(sorted(classes.items(), key=lambda entry: (entry[1].theory, entry[0])))


def _class(name: str) -> type[Experiment]:
    module = import_module(f"{experiments.__name__}.{name}")
    (found,) = (
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Experiment) and one.__module__ == module.__name__
    )
    return found


def overview() -> str:
    """Return how the command is used and what experiments there are, a line each."""
    classes = experiment_classes()
    width = max(map(len, classes))
    lines = [f"  {name:{width}}  {experiment.question}" for name, experiment in classes.items()]
    return "\n".join(
        [
            f"{PROGRAM} puts the theory of recurrent networks beside what is measured, with figures and tables.",
            "",
            "Usage",
            f"  {PROGRAM} all",
            f"  {PROGRAM} <experiment> ... [<experiment>.<setting>=<value> ...] [output_dir=DIR]",
            "",
            "Experiments",
            *lines,
            "",
            "Examples",
            f"  {PROGRAM} scalar_recursion vector_recursion",
            f"  {PROGRAM} 'scalar_recursion.weights=[0.9,1.0,1.1]' scalar_recursion.steps=200",
            "",
            "The report, all numbers and a TensorBoard run go to outputs/lab/<time>. It ends with 1 if an experiment",
            "fails or a check does not hold.",
        ]
    )


def understood(words: Sequence[str]) -> list[str]:
    """Return a command line as Hydra wants it: experiments become a choice of their group, settings are checked.

    A setting of an experiment chooses the experiment too.

    Raises:
        ValueError: If a word names no experiment and no setting.
    """
    from rnn_diag.cli.compose import checked_overrides, split_words, suggestion

    known = experiment_names()
    flags, overrides = split_words(words)
    settings = [word for word in overrides if "=" in word]
    named = [word for word in overrides if "=" not in word]
    named += [owner for owner in (setting.lstrip("+~").split(".")[0] for setting in settings) if owner in known]
    for name in named:
        if name not in known and name != ALL:
            close = suggestion(name, [*known, ALL])
            raise ValueError(f"unknown experiment {name!r}; {close}choices: {', '.join(known)}, {ALL}")
    chosen = [f"+{name}._target_={_target(name)}" for name in known if name in named or ALL in named]
    sweeping = bool({"-m", "--multirun"} & set(flags))
    return [*flags, *chosen, *checked_overrides(settings, sweeping, "lab", chosen)]


def _target(name: str) -> str:
    found = experiment_classes()[name]
    return f"{found.__module__}.{found.__qualname__}"


def conducted(configuration: DictConfig) -> list[Attempt]:
    """Run the experiments of a configuration in the order of the theory, and write the report as it grows.

    Raises:
        ValueError: If a setting is out of range; nothing has been run then.
        TypeError: If a setting has the wrong type.
    """
    from torch.utils.tensorboard.writer import SummaryWriter

    from rnn_diag.lab.report.files import write_events, write_files, write_results
    from rnn_diag.lab.report.page import report
    from rnn_diag.lab.report.run import attempted

    made, folder = datetime.now(), Path(configuration.output_dir)
    experiments = _experiments(configuration)
    folder.mkdir(parents=True, exist_ok=True)
    attempts: list[Attempt] = []
    with SummaryWriter(str(folder)) as writer:
        for name, experiment in experiments.items():
            attempts.append(attempted(name, experiment, _command(name, configuration)))
            _tell(attempts[-1], len(attempts), len(experiments))
            write_files(folder, attempts[-1])
            write_events(writer, attempts[-1])
            write_results(folder / "results.json", attempts)
            (folder / "report.html").write_text(report(attempts, made), encoding="utf-8")
    return attempts


def _experiments(configuration: DictConfig) -> dict[str, Experiment]:
    from rnn_diag.cli.build import instantiated

    chosen = [name for name in experiment_classes() if name in configuration]
    return {name: instantiated(configuration[name], name) for name in chosen}


def _command(name: str, configuration: DictConfig) -> str:
    """Return what runs an experiment again with the settings that it was given."""
    from omegaconf import OmegaConf

    given: Any = OmegaConf.to_container(configuration[name])
    settings = [f"'{name}.{setting}={_spelt(value)}'" for setting, value in given.items() if setting != "_target_"]
    return " ".join([PROGRAM, name, *settings])


def _spelt(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")).replace('"', "")


def _tell(attempt: Attempt, number: int, count: int) -> None:
    """Print how an experiment went."""
    from rnn_diag.terminal import Console, Text

    console = Console(highlight=False)
    line = Text(f"{number}/{count} {attempt.name}  ", "bold")
    line.append(f"{attempt.verdict}  ", "not bold green" if attempt.holds else "not bold red")
    console.print(line.append(f"{attempt.seconds:.1f} s", "not bold"))
    console.print(attempt.outcome.conclusion if attempt.outcome else attempt.error)
    for check in attempt.disagreements:
        console.print(f"does not hold: {check.what}: predicted {check.predicted:.6g}, measured {check.measured:.6g}")
    console.print()


def _reported(configuration: DictConfig) -> None:
    """Run, say where the report is, and end with 1 where something failed, disagrees or was asked for wrongly."""
    start = time.perf_counter()
    try:
        attempts = conducted(configuration)
    except (ValueError, TypeError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        sys.exit(f"{PROGRAM}: {' '.join(str(error).split())} (HYDRA_FULL_ERROR=1 shows where)")
    folder = os.path.relpath(configuration.output_dir)
    print(f"{len(attempts)} experiment{'s' if len(attempts) > 1 else ''} in {time.perf_counter() - start:.0f} s")
    print(f"report: {os.path.join(folder, 'report.html')}")
    print(f"to see figures and tables in TensorBoard: tensorboard --logdir {folder}")
    if not all(attempt.holds for attempt in attempts):
        names = ", ".join(attempt.name for attempt in attempts if not attempt.holds)
        sys.exit(f"{PROGRAM}: failed or does not hold: {names}")


if __name__ == "__main__":
    main()
