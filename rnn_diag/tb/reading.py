"""What a log holds, checked: a file may be damaged, or made by anybody, and must not harm the page or other series."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rnn_diag.tb import schema
from rnn_diag.tb.kinds import KINDS
from rnn_diag.tb.kinds.kind import a_name
from rnn_diag.tb.rows import Event, one_per_step

MOST_BYTES_OF_A_DESCRIPTION = 1 << 16
LARGEST_STEP = 1 << 53
"""Beyond it a browser does not tell whole numbers apart."""
MOST_BYTES_OF_A_SERIES = 1 << 28


@dataclass(frozen=True)
class Description:
    """What a series says of itself.

    Attributes:
        content: Version, kind, layer and the kind's facts; of a newer format the version alone; of a series that cannot
            be read the version None.
        why: Why it cannot be read; empty if it can.
    """

    content: dict[str, Any]
    why: str = ""


def described(plugin_content: bytes) -> Description:
    """Return the description of a series from the bytes in its log.

    Example:
        >>> described(b'{"v":1,"kind":"sv","layer":"l0","matrix":"W_hh"}').content["matrix"]
        'W_hh'
        >>> described(b'{"v":1,"kind":"sv","layer":"l0"}').why
        'matrix is missing'
    """
    try:
        return Description(_content(plugin_content))
    except (ValueError, RecursionError) as error:
        return Description({"v": None}, str(error) or type(error).__name__)


class Checked(NamedTuple):
    """What a series holds.

    Attributes:
        events: Those that can be shown, by step, each step once.
        unreadable: How many others there are.
        why: Why one of them cannot be shown.
    """

    events: list[Event]
    unreadable: int
    why: str


def checked(events: Iterable[Event], content: Mapping[str, Any]) -> Checked:
    """Return what of a series can be shown, by its description.

    Raises:
        ValueError: If that is more than a browser should be sent.
    """
    kind, good, bad, why = KINDS[content["kind"]], [], 0, ""
    for event in events:
        trouble = kind.trouble_with(event.values, content)
        if abs(event.step) > LARGEST_STEP:
            trouble = f"step {event.step}; expected 2^53 at most"
        if trouble:
            bad, why = bad + 1, trouble
        else:
            time = event.wall_time if math.isfinite(event.wall_time) else 0.0
            good.append(Event(int(event.step), time, event.values))
    shown = one_per_step(good)
    if (size := sum(event.values.nbytes for event in shown)) > MOST_BYTES_OF_A_SERIES:
        raise ValueError(f"it holds {size >> 20} MB; expected {MOST_BYTES_OF_A_SERIES >> 20} MB at most")
    return Checked(shown, bad, why)


def _content(plugin_content: bytes) -> dict[str, Any]:
    if len(plugin_content) > MOST_BYTES_OF_A_DESCRIPTION:
        size = len(plugin_content)
        raise ValueError(f"its description has {size} bytes; expected {MOST_BYTES_OF_A_DESCRIPTION} at most")
    try:
        found = json.loads(plugin_content)
    except (ValueError, RecursionError) as error:
        raise ValueError("its description is not JSON") from error
    if not isinstance(found, dict):
        raise ValueError("its description is not a JSON object")
    version, kind = found.get("v"), found.get("kind")
    if not isinstance(version, int) or isinstance(version, bool) or not 0 < version < LARGEST_STEP:
        raise ValueError("its description has no version")
    if version > schema.VERSION:
        return {"v": version}
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"its kind is unknown; expected one of {', '.join(KINDS)}")
    return {"v": version, "kind": kind, "layer": a_name(found.get("layer", "")), **KINDS[kind].facts_in(found)}
