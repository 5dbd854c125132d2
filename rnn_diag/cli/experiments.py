"""Which experiments the lab has: one for each file in `conf/lab/`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from hydra.utils import get_object
from omegaconf import OmegaConf

from rnn_diag.lab import Experiment

GROUP: Final = "lab"
"""The folder of the experiments."""


def experiment_names(directory: Path) -> list[str]:
    """Return the names of all experiments.

    Args:
        directory: The configuration folder.
    """
    return sorted(file.stem for file in (directory / GROUP).glob("*.yaml"))


def experiment_classes(directory: Path) -> dict[str, type[Experiment]]:
    """Return every experiment's class by name, in the order of the theory.

    Args:
        directory: The configuration folder.

    Raises:
        TypeError: If a file names something else.
    """
    classes = {name: _class(directory, name) for name in experiment_names(directory)}
    return dict(sorted(classes.items(), key=lambda entry: (entry[1].theory, entry[0])))


def experiment_node(directory: Path, name: str) -> dict[str, Any]:
    """Return what the file of an experiment says: its class, and the settings that differ from the code's."""
    content: Any = OmegaConf.to_container(OmegaConf.load(directory / GROUP / f"{name}.yaml"))
    return dict(content[name])


def _class(directory: Path, name: str) -> type[Experiment]:
    found = get_object(experiment_node(directory, name)["_target_"])
    if not (isinstance(found, type) and issubclass(found, Experiment)):
        raise TypeError(f"conf/{GROUP}/{name}.yaml names {found!r}; expected a subclass of rnn_diag.lab.Experiment")
    return found
