"""From the words of a command line to a configuration: each word is known, or the error lists the choices."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, OverrideType
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from rnn_diag.cli.hydra_versions import VERSION, register_resolver

WIDTH: Final = 100
"""Columns of a list of choices."""

HYDRA: Final = "hydra"
"""The group whose overrides are Hydra's own business."""

SEARCH_PATH: Final = "hydra.searchpath"
"""Names further places of configuration files, such as those of the user's own package."""

Groups = Mapping[str, Sequence[str]]
"""Every group with its choices."""

WITH_A_VALUE: Final = frozenset(
    ("-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir")
)
"""The flags of Hydra that are followed by a word of their own."""

OPTUNA: Final = frozenset(("sweep=optuna", "hydra/sweeper=optuna"))
DIRECTIONS: Final = {"min": "minimize", "max": "maximize"}
BETTER: Final = {"memory_horizon": "max", "doctor": "min", "accuracy": "max", "loss": "min", "mse": "min"}
"""In which direction a number gets better, by the first or the last word of its name."""


def configuration_directory() -> Path:
    """Return the folder `conf`: inside the package, or next to it in a source tree without links.

    Hydra finds it as `pkg://rnn_diag.conf`, too.

    Raises:
        RuntimeError: If it is not there.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder.resolve()
    raise RuntimeError(f"no train.yaml in {package / 'conf'}; expected the configuration there")


def register_resolvers() -> None:
    """Make known what configuration files ask of the code and of the machine."""
    directory = configuration_directory()
    resolvers: dict[str, Callable[..., Any]] = {
        "listed_choices": lambda: listed_choices(directory),  # of the help
        "processes": lambda: "auto" if torch.cuda.is_available() else 2,
    }
    for name, resolver in resolvers.items():
        register_resolver(name, resolver)


def composed(name: str, overrides: Sequence[str]) -> DictConfig:
    """Return a configuration by its name, such as `train`, with overrides that need no checking."""
    register_resolvers()
    with initialize_config_dir(str(configuration_directory()), **VERSION):
        return compose(name, overrides=list(overrides))


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the flags of a command line, each with its value behind it, and the overrides.

    Example:
        >>> split_words(["task=adding", "-m", "cell=gru,lstm", "-c", "job"])
        (['-m', '-c', 'job'], ['task=adding', 'cell=gru,lstm'])
    """
    flags: list[str] = []
    overrides: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        (flags if word.startswith("-") or before in WITH_A_VALUE else overrides).append(word)
    return flags, overrides


def checked_overrides(
    overrides: Sequence[str], sweeping: bool = False, name: str = "train", before: Sequence[str] = ()
) -> list[str]:
    """Return the overrides as Hydra takes them, if each names an existing choice or option.

    An option that the configuration does not spell out, but that is an argument of the class it configures, is marked
    with `++`, so that the files need not repeat what the code says. What starts with `+`, `++` or `~` is taken as it
    is: whoever writes that knows what it means. An Optuna sweep is given the direction in which the model's monitored
    metric gets better.

    Args:
        overrides: What the command line says, such as `cell=gru` or `cell.num_layers=2`.
        sweeping: Whether comma-separated values are to be run one by one.
        name: The configuration that the command composes; the groups are those of its defaults.
        before: Overrides that come before these and need no checking.

    Raises:
        ValueError: If one of them cannot be read or names a choice or an option that does not exist.
    """
    register_resolvers()
    directory = configuration_directory()
    parsed = [_parsed(override) for override in overrides]
    elsewhere = [str(override.input_line) for override in parsed if override.key_or_group == SEARCH_PATH]
    with initialize_config_dir(str(directory), **VERSION):
        groups = _groups(directory / f"{name}.yaml", elsewhere)
        chosen = {override.key_or_group: _choices(override) for override in parsed if override.key_or_group in groups}
        for group, choices in chosen.items():
            _check_choices(group, choices, groups[group], sweeping)
        first = [f"{group}={_spelt(choices[0])}" for group, choices in chosen.items()]
        configuration = compose(name, overrides=[*elsewhere, *before, *first], return_hydra_config=True)
    completed = [_completed(override, configuration, groups) for override in parsed]
    if sweeping and OPTUNA & set(completed) and not any("hydra.sweeper.direction" in word for word in completed):
        completed.append(f"hydra.sweeper.direction={_direction(completed, configuration)}")
    return completed


def argument_names(target: str | None) -> list[str]:
    """Return the names of the arguments of a class or function, given by its dotted name.

    A constructor that hands `**options` on to its base class takes the base class's arguments as well.

    Example:
        >>> argument_names("torch.optim.lr_scheduler.StepLR")
        ['gamma', 'last_epoch', 'optimizer', 'step_size']
    """
    if target is None:
        return []
    found = get_object(target)
    functions = [found]
    if isinstance(found, type):
        functions = [vars(base)["__init__"] for base in found.__mro__ if "__init__" in vars(base)]
    names: set[str] = set()
    for function in functions:
        parameters = inspect.signature(function).parameters.values()
        names.update(parameter.name for parameter in parameters if _is_named(parameter))
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            break
    return sorted(names - {"self"})


def listed_choices(directory: Path, name: str = "train") -> str:
    """Return a line for each group among a configuration's defaults: its choices. Hydra must be at work.

    Args:
        directory: The configuration folder.
        name: The configuration.
    """
    lines = [f"{group}: {', '.join(known)}" for group, known in _groups(directory / f"{name}.yaml").items()]
    return "\n".join(textwrap.fill(line, WIDTH, subsequent_indent="    ") for line in lines)


def suggestion(word: str, known: Collection[str]) -> str:
    """Return `"did you mean 'x'? "` for the known word that is closest, or nothing if none is close.

    Example:
        >>> suggestion("lstmm", ["gru", "lstm"])
        "did you mean 'lstm'? "
    """
    close = get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def _parsed(text: str) -> Override:
    """Read an override; a value with characters that Hydra would want quoted, such as those of a path, is quoted."""
    parser = OverridesParser.create()
    key, _, value = text.partition("=")
    plain_text = value and not any(mark in value for mark in "[]{},'\"\\")
    try:
        return parser.parse_override(text)
    except HydraException as error:
        if plain_text:
            with suppress(HydraException):
                return parser.parse_override(f"{key}='{value}'")
        raise ValueError(f"cannot read {text!r}; expected group=choice or option=value") from error


def _groups(file: Path, elsewhere: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return the groups among a configuration's defaults, each with its choices.

    Args:
        file: The configuration.
        elsewhere: The override that names further places to look for choices, if there is one.
    """
    defaults: Any = OmegaConf.to_container(OmegaConf.load(file))
    named = {str(group) for entry in defaults["defaults"] if isinstance(entry, dict) for group in entry}
    loader = GlobalHydra.instance().config_loader()
    groups = [group for group in loader.list_groups("") if group != HYDRA and group in named]
    return {
        group: loader.get_group_options(group, ObjectType.CONFIG, config_name=file.stem, overrides=list(elsewhere))
        for group in groups
    }


def _choices(override: Override) -> list[Any]:
    """Return the choices that an override of a group makes, one by one if it sweeps over several."""
    value = override.value()
    return list(value.list) if isinstance(value, ChoiceSweep) else [value]


def _spelt(choice: Any) -> str:
    if choice is None:
        return "null"
    return f"[{','.join(map(str, choice))}]" if isinstance(choice, list) else str(choice)


def _check_choices(group: str, choices: Sequence[Any], known: Sequence[str], sweeping: bool) -> None:
    if len(choices) > 1 and not sweeping:
        several = ",".join(map(_spelt, choices))
        raise ValueError(
            f"{group}={several} names several choices; expected -m as well, to run one after the other, "
            f"or {group}=[{several}], where a group takes several at once"
        )
    for choice in choices:
        for word in choice if isinstance(choice, list) else [choice]:
            name = _spelt(word)
            if name not in known:
                raise ValueError(f"unknown {group} {name!r}; {suggestion(name, known)}choices: {', '.join(known)}")


def _completed(override: Override, configuration: DictConfig, groups: Groups) -> str:
    """Return an override, with `++` in front if only the configured class knows the option."""
    line, key = str(override.input_line), override.key_or_group
    path = key.split(".")
    if key in groups or override.type is not OverrideType.CHANGE or path[0].split("/")[0] == HYDRA:
        return line
    node: Any = configuration
    for depth, word in enumerate(path):
        if not isinstance(node, DictConfig):
            raise ValueError(f"{'.'.join(path[:depth])} is {node!r} and has no option {word!r}")
        if word not in node:
            arguments = argument_names(node.get("_target_"))
            if word in arguments and depth == len(path) - 1:
                return f"++{line}"
            raise ValueError(_unknown(".".join(path[:depth]), word, [*map(str, node), *arguments], groups))
        node = None if depth == len(path) - 1 else node[word]
    return line


def _direction(words: Sequence[str], configuration: DictConfig) -> str:
    """Return the direction in which what a sweep is given gets better."""
    name = next((word.partition("=")[2].strip("'\"") for word in words if word.startswith("objective=")), "null")
    if name == "null":
        return DIRECTIONS[get_object(configuration.model._target_).monitor_mode]
    parts = name.split("/")
    mode = BETTER.get(parts[0]) or BETTER.get(parts[-1])
    if mode is None:
        raise ValueError(f"objective={name!r}; expected hydra.sweeper.direction=minimize or maximize as well")
    return DIRECTIONS[mode]


def _unknown(inside: str, word: str, options: Sequence[str], groups: Groups) -> str:
    if word in groups.get(inside, ()):
        return f"{inside}.{word} is not part of this run; expected {inside}=[{word}] as well"
    known = {option for option in options if not option.startswith("_")} | (set() if inside else set(groups))
    choices = sorted(known - {HYDRA})
    name = f"{inside}.{word}" if inside else repr(word)
    return f"unknown option {name}; {suggestion(word, choices)}choices: {', '.join(choices) or 'none'}"


def _is_named(parameter: inspect.Parameter) -> bool:
    named: tuple[Any, ...] = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return parameter.kind in named
