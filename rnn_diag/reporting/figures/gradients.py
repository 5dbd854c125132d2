"""Figures: how large the gradient is at every timestep, over one sequence or the whole training; how far it reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_diag.reporting.colours import ABSENT, GRADIENT_RATIO, GRID, LINES, MUTED, NOT_FINITE, ZERO
from rnn_diag.reporting.figures import sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def gradient_profile(log10_norms: Any, *, relative: bool = False, title: str = "") -> Figure:
    r"""Return a figure of :math:`\lVert \partial L / \partial h_t \rVert` over the timesteps.

    A value that is zero is not on the axis and is marked black at its foot; one that is infinite or not a number
    magenta at its top.

    Args:
        log10_norms: Logarithms to the base 10, `[3, time]` (median, 10th and 90th percentile over sequences, which
            become a band) or `[time]`; or a mapping from names to them, one line each.
        relative: Whether to divide by the norm at the last timestep that has a gradient.
        title: Above the figure.

    Raises:
        ValueError: If the numbers have another shape.
        ModuleNotFoundError: If matplotlib is not installed.

    Example:
        >>> figure = gradient_profile([-6.0, -4.0, -2.0], relative=True)
        >>> figure.axes[0].lines[0].get_ydata().tolist()
        [-4.0, -2.0, 0.0]
    """
    over = r" / $\Vert\partial L/\partial h_T\Vert$" if relative else ""
    figure, axes = sheet.new_axes(title, "timestep $t$", r"$\Vert\partial L/\partial h_t\Vert$" + over)
    for index, (name, values) in enumerate(sheet.by_name(log10_norms).items()):
        rows = sheet.banded(values, f"log10 norms {name}".rstrip())
        if relative:
            finite = rows[0][np.isfinite(rows[0])]
            rows = rows - (finite[-1] if len(finite) else 0.0)
        _draw_band(axes, rows, name, LINES[index % len(LINES)])
    _finish(axes)
    return figure


def influence(log10_influence: Any, *, horizon: float | Mapping[str, float] | None = None, title: str = "") -> Figure:
    """Return a figure of how much the loss of one step depends on the state some steps before, relative to lag 0.

    Args:
        log10_influence: Logarithms to the base 10, lag 0 first: `[3, lags]` (median, 10th and 90th percentile) or
            `[lags]`; or a mapping from names to them, one line each.
        horizon: The memory horizon in timesteps, a dashed line; by name where the influence is.
        title: Above the figure.

    Raises:
        ValueError: If the numbers have another shape.
        ModuleNotFoundError: If matplotlib is not installed.
    """
    figure, axes = sheet.new_axes(title, "lag, timesteps before the loss", "influence, relative to lag 0")
    horizons = sheet.by_name(horizon)
    for index, (name, values) in enumerate(sheet.by_name(log10_influence).items()):
        colour = LINES[index % len(LINES)]
        rows = sheet.banded(values, f"log10 influence {name}".rstrip())
        _draw_band(axes, rows - (rows[0, 0] if np.isfinite(rows[0, 0]) else 0.0), name, colour)
        if horizons.get(name) is not None:
            axes.axvline(horizons[name], color=colour, linewidth=1, linestyle=(0, (6, 3)))
    _finish(axes)
    return figure


def memory_horizon(steps: Sequence[int], horizons: Sequence[Any], *, title: str = "") -> Figure:
    """Return a figure of the memory horizon over the training.

    Args:
        steps: The training steps, ascending.
        horizons: For each of them the horizon in timesteps: median, 10th and 90th percentile.
        title: Above the figure.

    Raises:
        ValueError: If there is nothing to draw, or not as many horizons as steps.
        ModuleNotFoundError: If matplotlib is not installed.

    Example:
        >>> memory_horizon([0, 50], [[7, 5, 9], [20, 12, 30]]).axes[0].get_ylabel()
        'timesteps'
    """
    rows = sheet.array([sheet.array(one) for one in horizons])
    if rows.shape != (len(steps), 3) or not len(steps):
        raise ValueError(f"horizons have the shape {list(rows.shape)}; expected [{len(steps)} training steps, 3]")
    figure, axes = sheet.new_axes(title, "training step", "timesteps")
    median, low, high = rows.T
    axes.fill_between(list(steps), low, high, color=LINES[0], alpha=0.25, linewidth=0)
    axes.plot(list(steps), median, color=LINES[0], linewidth=1.8, marker="." if len(steps) == 1 else "")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    return figure


def gradient_heat_map(steps: Sequence[int], log10_norms: Sequence[Any], *, title: str = "") -> Figure:
    """Return a figure of the gradient over the training: training step to the right, timestep upwards.

    Every column is relative to its last timestep that has a gradient. The colours are those of TensorBoard's picture,
    on the same fixed scale. Sequences of different lengths end at the top, and the axis then counts from their end.

    Args:
        steps: The training steps, ascending.
        log10_norms: For each of them `[time]`, logarithms to the base 10.
        title: Above the figure.

    Raises:
        ValueError: If there is nothing to draw, there are not as many columns as steps, or the steps do not ascend.
        ModuleNotFoundError: If matplotlib is not installed.
    """
    columns = [_relative(sheet.banded(column, "log10 norms")[0]) for column in log10_norms]
    edges = step_edges(steps, len(columns))
    longest = max(len(column) for column in columns)
    absent = np.ones((longest, len(columns)), dtype=bool)
    values = np.zeros((longest, len(columns)))
    for index, column in enumerate(columns):
        values[longest - len(column) :, index] = column
        absent[longest - len(column) :, index] = False
    same = all(len(column) == longest for column in columns)
    y = np.arange(longest + 1) - (0 if same else longest)
    y_label = "timestep $t$" if same else "timesteps from the end"
    figure, axes = sheet.new_axes(title, "training step", y_label)
    axes.set_facecolor(ABSENT)
    scale = _gradient_colours()
    mesh = axes.pcolormesh(edges, y, np.ma.array(_drawable(values), mask=absent), rasterized=True, **scale)
    axes.set_xlim(edges[0], edges[-1])
    bar = figure.colorbar(mesh, ax=axes, pad=0.02)
    bar.set_label("relative to the last timestep", color=MUTED, fontsize=9)
    bar.ax.tick_params(colors=MUTED, labelsize=8)
    bar.outline.set_visible(False)
    sheet.in_powers_of_ten(bar.ax.yaxis)
    entries = [(ZERO, "exactly 0")] if np.isneginf(values).any() else []
    entries += [(NOT_FINITE, "Inf or not a number")] if (np.isnan(values) | np.isposinf(values)).any() else []
    entries += [(ABSENT, "no such timestep")] if absent.any() else []
    if entries:
        sheet.key(axes, entries, loc="lower right", bbox_to_anchor=(1, 1), ncols=3)
    return figure


def step_edges(steps: Sequence[int], columns: int) -> np.ndarray[Any, Any]:
    """Return where the column of every training step begins and ends: halfway to the next one.

    Raises:
        ValueError: If there is no column, not as many as steps, or the steps do not ascend.

    Example:
        >>> step_edges([0, 10, 30], 3).tolist()
        [-5.0, 5.0, 20.0, 40.0]
    """
    found = np.asarray(steps, dtype=np.float64)
    if not columns or len(found) != columns:
        raise ValueError(f"{columns} columns for {len(found)} training steps; expected one each, at least one")
    gaps = np.diff(found) if len(found) > 1 else np.ones(1)
    if (gaps <= 0).any():
        raise ValueError(f"training steps {list(steps)}; expected ascending ones")
    middles = (found[1:] + found[:-1]) / 2
    return np.concatenate([[found[0] - gaps[0] / 2], middles, [found[-1] + gaps[-1] / 2]])


def _relative(column: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    finite = column[np.isfinite(column)]
    return column - (finite[-1] if len(finite) else 0.0)


def _drawable(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return values within the scale, zeros one below it, what is no number one above: matplotlib hides infinities."""
    low, high = GRADIENT_RATIO.low, GRADIENT_RATIO.high
    return np.where(np.isneginf(values), low - 1, np.where(np.isfinite(values), np.clip(values, low, high), high + 1))


def _gradient_colours() -> dict[str, Any]:
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    between = LinearSegmentedColormap.from_list("rnn_diag_gradient", GRADIENT_RATIO.stops, N=512)
    colours = between.with_extremes(bad=(0, 0, 0, 0), under=ZERO, over=NOT_FINITE)
    return {"cmap": colours, "norm": Normalize(GRADIENT_RATIO.low, GRADIENT_RATIO.high)}


def _draw_band(axes: Axes, rows: np.ndarray[Any, Any], name: str, colour: str) -> None:
    median, low, high = rows
    at = np.arange(len(median))
    shown = np.where(np.isfinite(median), median, np.nan)
    axes.plot(at, shown, color=colour, linewidth=1.8, label=name, marker="." if np.isfinite(median).sum() == 1 else "")
    both = np.isfinite(low) & np.isfinite(high)
    if both.any():
        axes.fill_between(at, low, high, where=both, color=colour, alpha=0.25, linewidth=0)
    marks = [(np.isneginf(median), 0.0, ZERO, "exactly 0")]
    marks += [(np.isnan(median) | np.isposinf(median), 1.0, NOT_FINITE, "Inf or not a number")]
    for where, height, mark, meaning in marks:
        if where.any():
            axes.plot(
                at[where],
                np.full(where.sum(), height),
                color=mark,
                marker="s",
                markersize=3,
                linestyle="",
                clip_on=False,
                transform=axes.get_xaxis_transform(),
                label=meaning,
            )


def _finish(axes: Axes) -> None:
    sheet.in_powers_of_ten(axes.yaxis)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    named = [line for line in axes.lines if not str(line.get_label()).startswith("_") and line.get_label()]
    if named:
        sheet.key(axes, [(line, str(line.get_label())) for line in named])
