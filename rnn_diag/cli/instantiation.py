"""From a node of the configuration to the object that it names."""

from __future__ import annotations

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate


def instantiated(node: Any, name: str) -> Any:
    """Return what a node configures; the error of the thing itself comes out, led by the node's name.

    Raises:
        ValueError: If a value is out of range, or a file or package is missing.
        TypeError: If a value has the wrong type.
    """
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, (ValueError, TypeError, OSError, ImportError)):
            kind = TypeError if isinstance(cause, TypeError) else ValueError
            raise kind(f"{name}: {cause}") from cause
        raise
