"""Figures: which gates are shut and open, over the timesteps, over the units, and over the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_diag.diagnostics.saturation import STUCK
from rnn_diag.reporting.colours import ABSENT, GATE_MEAN, INK, MUTED, NOT_FINITE, OPEN, SHUT, STRIP
from rnn_diag.reporting.figures import sheet
from rnn_diag.reporting.figures.gradients import step_edges

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW = 1.15


def gates_over_time(gates: Mapping[str, Any], *, title: str = "") -> Figure:
    """Return a figure of every gate over the timesteps: shut from below, open from above, the mean as a line.

    Args:
        gates: For every gate `[3, time]`: mean activation within its range (0 to 1), share of units shut, share open.
        title: Above the figure.

    Raises:
        ValueError: If there is no gate, or one has another shape.
        ModuleNotFoundError: If matplotlib is not installed.
    """
    rows = _checked(gates)
    figure, grid = _rows_of_axes(rows, title, "timestep $t$")
    for axes, (mean, shut, open_) in zip(grid, rows.values(), strict=True):
        at = np.arange(len(mean) + 1) - 0.5
        axes.set_facecolor(STRIP)
        axes.stairs(shut, at, fill=True, color=SHUT)
        axes.stairs(1 - open_, at, baseline=1, fill=True, color=OPEN)
        axes.plot(np.arange(len(mean)), mean, color=INK, linewidth=1.5)
        axes.set_xlim(-0.5, len(mean) - 0.5)
        axes.set_ylim(0, 1)
    entries = [(OPEN, "units open"), (SHUT, "units shut"), (grid[0].lines[0], "mean activation")]
    sheet.key(grid[0], entries, loc="lower right", bbox_to_anchor=(1, 1), ncols=3)
    return figure


def units(gates: Mapping[str, Any], *, title: str = "") -> Figure:
    """Return a figure of every gate of every unit: share of time open minus share shut, stuck ones first.

    Args:
        gates: For every gate `[3, units]`: mean activation within its range (0 to 1), share of time shut, share open.
        title: Above the figure.

    Raises:
        ValueError: If there is no gate, or one has another shape.
        ModuleNotFoundError: If matplotlib is not installed.
    """
    rows = _checked(gates)
    figure, grid = _rows_of_axes(rows, title, "units, those that are shut or open longest first", row=0.7)
    for axes, (_, shut, open_) in zip(grid, rows.values(), strict=True):
        order = np.argsort(-np.maximum(shut, open_), kind="stable")
        mesh = axes.pcolormesh(
            np.arange(len(order) + 1), [0, 1], _drawable(open_ - shut)[order][None], **_shut_to_open()
        )
        stuck = [f"{count} {word}" for values, word in ((shut, "shut"), (open_, "open")) if (count := _stuck(values))]
        axes.set_title(f"stuck: {', '.join(stuck)}" if stuck else "none stuck", fontsize=8, loc="right", pad=2)
        axes.set_yticks([])
    _colour_bar(figure, mesh, grid, ["always shut", "always open"])
    return figure


def gates_over_training(steps: Sequence[int], gates: Mapping[str, Sequence[Any]], *, title: str = "") -> Figure:
    """Return a figure of every gate over the training: share of units open minus share shut, at every timestep.

    Training step to the right, timestep upwards. Sequences of different lengths end at the top.

    Args:
        steps: The training steps, ascending.
        gates: For every gate and training step `[time]`: share of units open minus share shut, between -1 and 1.
        title: Above the figure.

    Raises:
        ValueError: If there is no gate, there are not as many columns as steps, or the steps do not ascend.
        ModuleNotFoundError: If matplotlib is not installed.
    """
    if not gates:
        raise ValueError("no gate to draw; expected at least one")
    figure, grid = _rows_of_axes(gates, title, "training step")
    for axes, columns in zip(grid, gates.values(), strict=True):
        edges = step_edges(steps, len(columns))
        longest = max(len(column) for column in columns)
        values = np.ma.array(np.zeros((longest, len(columns))), mask=True)
        for index, column in enumerate(columns):
            values[longest - len(column) :, index] = _drawable(sheet.array(column))
        axes.set_facecolor(ABSENT)
        mesh = axes.pcolormesh(edges, np.arange(longest + 1), values, rasterized=True, **_shut_to_open())
    _colour_bar(figure, mesh, grid, ["all shut", "all open"])
    return figure


def _checked(gates: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    rows = {name: sheet.array(values) for name, values in gates.items()}
    if not rows:
        raise ValueError("no gate to draw; expected at least one")
    for name, values in rows.items():
        if values.ndim != 2 or len(values) != 3 or not values.size:
            raise ValueError(f"gate {name!r} has the shape {list(values.shape)}; expected [3, n] (mean, shut, open)")
    return rows


def _rows_of_axes(gates: Mapping[str, Any], title: str, x_label: str, row: float = ROW) -> tuple[Figure, list[Any]]:
    figure = sheet.new_figure(title, height=row * len(gates) + 0.8)
    grid = list(figure.subplots(len(gates), 1, squeeze=False, sharex=True)[:, 0])
    for axes, name in zip(grid, gates, strict=True):
        sheet.label(axes, x_label if axes is grid[-1] else "", name)
    return figure, grid


def _shut_to_open() -> dict[str, Any]:
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("rnn_diag_gates", GATE_MEAN.stops)
    return {"cmap": colours.with_extremes(bad=(0, 0, 0, 0), over=NOT_FINITE), "vmin": -1.0, "vmax": 1.0}


def _drawable(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the values, and above the scale what is no number, which matplotlib would hide."""
    return np.where(np.isfinite(values), values, 2.0)


def _colour_bar(figure: Figure, mesh: Any, grid: list[Any], ends: list[str]) -> None:
    bar = figure.colorbar(mesh, ax=grid, pad=0.02, ticks=[-1, 1])
    bar.ax.set_yticklabels(ends, fontsize=8, color=MUTED)
    bar.outline.set_visible(False)


def _stuck(shares: np.ndarray[Any, Any]) -> int:
    return int((shares >= STUCK).sum())
