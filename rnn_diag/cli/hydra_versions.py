"""What Hydra 1.4 and OmegaConf 2.4 call otherwise than 1.3 and 2.3 do: neither warns of the words used here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, Final

import hydra.utils
from omegaconf import OmegaConf

ANYTHING: Final[Any] = getattr(hydra.utils, "UNSAFE_DISABLE_EXECUTION_CHECKS", None)
"""Hydra 1.4 and later want to be told that a configuration may call anything, and no version of their defaults."""

VERSION: Final[Mapping[str, Any]] = {"version_base": "1.3"} if ANYTHING is None else {}
"""For `hydra.main` and `initialize_config_dir`."""


def instantiate(node: Any, **options: Any) -> Any:
    """Return what a node configures. What it names is called, whatever that is, as in Hydra 1.3.

    A command line is its user's own words; of a checkpoint's folder, `rnn_diag.cli.build.check_targets` knows what may
    be called.
    """
    if ANYTHING is not None:
        options["_execution_whitelist_"] = ANYTHING
    return hydra.utils.instantiate(node, **options)


def register_resolver(name: str, resolver: Callable[..., Any]) -> None:
    """Make a resolver known to configurations, instead of an earlier one of its name."""
    newest: Callable[..., Any] | None = getattr(OmegaConf, "register_resolver", None)
    if newest is not None and "replace" in signature(newest).parameters:  # OmegaConf 2.0 had another of this name
        newest(name, resolver, replace=True)
    else:
        OmegaConf.register_new_resolver(name, resolver, replace=True)
