"""How each recurrent layer of a model was captured, or why not."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, NamedTuple


class Status(StrEnum):
    """How a layer was captured; the values are the words that tables show."""

    EXACT = "exact"
    """Every number was checked against what the model computed."""
    NOT_FAITHFUL = "not faithful"
    """The self-check found other numbers than the model's."""
    NOT_CHECKED = "not checked"
    """Numbers were taken, and there was nothing to check them against."""
    PARTIAL = "partial"
    """A call, or a gradient of one, was lost."""
    NOT_FOLLOWED = "not followed"
    """The module was found and cannot be followed."""
    NEVER_RAN = "never ran"
    """No call of the module was seen."""


class Coverage(NamedTuple):
    """How one recurrent layer is captured.

    Attributes:
        layer: Its name; of a module that cannot be followed, the module's path.
        module_type: Its class.
        status: How it was captured.
        reason: What the status means here.
        hint: `register` where registering the module's class may help; `hidden` of a module that its owner holds in a
            plain list, tuple, dict or dataclass.
        has_gradients: Whether a gradient reaches it. Of a layer that has not run: whether it is not frozen.
        written: How a user writes the module; empty where that is not known.
        mend: The code that makes a hidden module known to torch, or empty.
        found: How it was found, if nobody registered it.
    """

    layer: str
    module_type: str
    status: Status
    reason: str
    hint: Literal["", "register", "hidden"] = ""
    has_gradients: bool = True
    written: str = ""
    mend: str = ""
    found: str = ""
