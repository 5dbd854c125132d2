"""An empty figure in this package's style: matplotlib's own objects, without pyplot and its global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_diag.reporting.colours import AXIS, INK, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 3.2


def new_figure(title: str, width: float = 6.4, height: float = HEIGHT) -> Figure:
    """Return an empty figure with a title.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        message = "figures are drawn by matplotlib, which is not installed; try: pip install 'rnn_diag[plot]'"
        raise ModuleNotFoundError(message, name="matplotlib") from error
    figure: Figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    return figure


def new_axes(title: str, x_label: str, y_label: str, **size: float) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes."""
    figure = new_figure(title, **size)
    axes = figure.subplots()
    label(axes, x_label, y_label)
    return figure, axes


def label(axes: Axes, x_label: str, y_label: str) -> None:
    """Write what the axes show, and leave them quiet."""
    axes.set_xlabel(x_label, color=MUTED, fontsize=9)
    axes.set_ylabel(y_label, color=MUTED, fontsize=9)
    axes.tick_params(colors=MUTED, labelsize=8, length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(AXIS)
    axes.set_axisbelow(True)


def in_powers_of_ten(axis: Any) -> None:
    """Write the ticks of logarithms to the base 10 as the numbers themselves."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    axis.set_major_formatter(FuncFormatter(lambda value, _: "1" if value == 0 else f"$10^{{{value:.0f}}}$"))


def key(axes: Axes, entries: Sequence[tuple[Any, str]], **where: Any) -> None:
    """Explain artists or plain colours."""
    from matplotlib.patches import Patch

    handles = [Patch(color=one) if isinstance(one, str) else one for one, _ in entries]
    axes.legend(handles, [text for _, text in entries], frameon=False, fontsize=8, labelcolor=INK, **where)


def array(values: Any) -> np.ndarray[Any, Any]:
    """Return numbers, from lists, arrays or tensors, as an array of double precision, real or complex."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.to(dtype=values.double().dtype) if not values.is_complex() else values
    found = np.asarray(values)
    return found if np.iscomplexobj(found) else found.astype(np.float64)


def by_name(values: Any) -> dict[str, Any]:
    """Return a mapping as it is, and anything else under an empty name."""
    return dict(values) if isinstance(values, Mapping) else {"": values}


def banded(values: Any, what: str) -> np.ndarray[Any, Any]:
    """Return `[3, n]`, median, p10 and p90, of which the last two may not have been given.

    Raises:
        ValueError: If the numbers have another shape.
    """
    rows = np.atleast_2d(array(values))
    if rows.ndim != 2 or len(rows) not in (1, 3) or not rows.shape[1]:
        raise ValueError(f"{what}: shape {list(np.shape(values))}; expected [n] or [3, n] (median, p10, p90), n >= 1")
    return rows if len(rows) == 3 else np.concatenate([rows, np.full((2, rows.shape[1]), np.nan)])
