"""A series on its way to the page: sorted, one value per step, as a header in JSON and rows in the type they have."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

TYPES = {"float16": "f2", "float32": "f4", "uint8": "u1"}


@dataclass(frozen=True)
class Event:
    """What one tag held at one step."""

    step: int
    wall_time: float
    values: np.ndarray[Any, Any]


def one_per_step(events: Iterable[Event]) -> list[Event]:
    """Return the events by step, of those at one step the last written.

    A run that was resumed from a checkpoint has written some steps twice, and not in order.
    """
    last: dict[int, Event] = {}
    for event in sorted(events, key=lambda event: event.wall_time):
        last[event.step] = event
    return [last[step] for step in sorted(last)]


def pack(events: list[Event], unreadable: int = 0) -> bytes:
    """Return four bytes with the header's length, the header padded to eight, and the rows one after the other.

    The header says type, steps, wall times and the shape of every row: sequences differ in length. Rows of a type that
    the page cannot read are left out and counted in `unreadable`, with those that were left out before.
    """
    dtype = next((event.values.dtype for event in events if event.values.dtype.name in TYPES), None)
    readable = [event for event in events if event.values.dtype == dtype] if dtype is not None else []
    header = {
        "dtype": TYPES[dtype.name] if dtype is not None else "f4",
        "steps": [int(event.step) for event in readable],
        "wall_times": [float(event.wall_time) for event in readable],
        "shapes": [list(event.values.shape) for event in readable],
        "unreadable": unreadable + len(events) - len(readable),
    }
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-(len(text) + 4) % 8)
    return (
        struct.pack("<I", len(text))
        + text
        + b"".join(
            np.asarray(event.values, order="C").astype(event.values.dtype.newbyteorder("<")).tobytes()
            for event in readable
        )
    )
