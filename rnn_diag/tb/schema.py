"""The format of the event files: names, version, and bins of timesteps.

Every series is a TensorBoard tensor summary with the plugin name `rnn_diag`, the tag `rnn_diag/<layer>/<kind>` (without
a layer where the whole run is meant) and, as plugin content, one JSON object: `v` (this version), `kind`, `layer`, and
what the kind needs (`labels`, `ranges`, `matrix`, ...). TensorBoard keeps the content of a tag's first event only, so
whatever may change from step to step, the length of the sequences for example, is in the tensor.

`rnn_diag.tb.kinds.KINDS` holds the type and shape of every kind; `docs/dashboard.md` has the table. In the logarithms
minus infinity is a zero, plus infinity an overflow, NaN a number that is missing or is not one; in the bytes of the
gates that is 255.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int

PLUGIN_NAME = "rnn_diag"
VERSION = 1
TIME_BINS = 64
"""A longer sequence is written as this many bins: the cost of a logged step then does not grow with its length."""
MOST_STEPS_IN_A_BIN = 255
"""The gates' maps count the timesteps of a bin in one byte."""
_COMPACT = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def tag_of(kind: str, layer: str = "", part: str = "") -> str:
    """Return the tag of a series: `rnn_diag/<layer>/<kind>/<part>`, without what is empty."""
    return "/".join(word for word in (PLUGIN_NAME, layer, kind, part) if word)


def content_of(kind: str, layer: str = "", **facts: Any) -> bytes:
    """Return the plugin content of a series: compact JSON with the version."""
    content = {"v": VERSION, "kind": kind, "layer": layer, **facts}
    return _COMPACT.encode(content).encode()


def bin_starts(timesteps: int, bins: int = TIME_BINS) -> Int[np.ndarray, " bins"]:
    """Return the first timestep of every bin: one each where there are few steps, else spans as equal as can be.

    Example:
        >>> bin_starts(10, bins=4).tolist()
        [0, 2, 5, 7]
    """
    count = min(timesteps, max(bins, -(-timesteps // MOST_STEPS_IN_A_BIN)))
    return np.arange(count) * timesteps // count


def bin_widths(timesteps: int, starts: Int[np.ndarray, " bins"]) -> Int[np.ndarray, " bins"]:
    """Return the number of timesteps in every bin."""
    widths: Int[np.ndarray, " bins"] = np.append(starts[1:], timesteps) - starts
    return widths


def largest_in_bins(
    values: Float[np.ndarray, "... time"], starts: Int[np.ndarray, " bins"]
) -> Float[np.ndarray, "... bins"]:
    """Return the largest value of every bin; NaN if one of its values is NaN, so that none is hidden."""
    largest: Float[np.ndarray, "... bins"] = np.maximum.reduceat(values, starts, axis=-1)
    return largest


def mean_in_bins(
    values: Float[np.ndarray, "... time"], starts: Int[np.ndarray, " bins"]
) -> Float[np.ndarray, "... bins"]:
    """Return the mean value of every bin."""
    means: Float[np.ndarray, "... bins"] = np.add.reduceat(values, starts, axis=-1)
    means = means / bin_widths(values.shape[-1], starts)
    return means
