"""Which arguments a configured class takes, so that the command line knows them without a file that repeats them."""

from __future__ import annotations

import inspect
from typing import Any

from hydra.utils import get_object


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


def _is_named(parameter: inspect.Parameter) -> bool:
    named: tuple[Any, ...] = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return parameter.kind in named
