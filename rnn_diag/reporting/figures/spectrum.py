"""Figures: eigenvalues on the complex plane with the unit circle, singular values, Lyapunov exponents over training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnn_diag.reporting.colours import ALARM, GRID, INK, LINES
from rnn_diag.reporting.figures import sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ACROSS = 4


def complex_plane(eigenvalues: Any, singular_values: Any = None, *, title: str = "") -> Figure:
    """Return a figure of eigenvalues with the unit circle; the singular values, where they are given, beneath.

    Eigenvalues outside the circle are red triangles, singular values above 1 red bars. Matrices share one scale.

    Args:
        eigenvalues: Complex, `[n]`; or a mapping from names of matrices to them.
        singular_values: `[n]`; or by the same names.
        title: Above the figure.

    Raises:
        ValueError: If there are no eigenvalues, or singular values of a matrix that has none.
        ModuleNotFoundError: If matplotlib is not installed.

    Example:
        >>> figure = complex_plane([0.5 + 0.5j, 0.5 - 0.5j, 1.25])
        >>> [len(points.get_offsets()) for points in figure.axes[0].collections]
        [2, 1]
    """
    planes = {
        name: np.ravel(sheet.array(values)).astype(complex) for name, values in sheet.by_name(eigenvalues).items()
    }
    bars = {} if singular_values is None else sheet.by_name(singular_values)
    if not planes or not all(len(values) for values in planes.values()) or not bars.keys() <= planes.keys():
        raise ValueError(
            f"eigenvalues of {list(planes)}, singular values of {list(bars)}; expected some, by equal names"
        )
    across = min(len(planes), MOST_ACROSS)
    groups = -(-len(planes) // across)
    heights = [3.0, 1.0] * groups if bars else [3.0] * groups
    figure = sheet.new_figure(title, width=max(3.4, 2.6 * across), height=0.9 * sum(heights) + 0.5)
    grid = figure.subplots(len(heights), across, squeeze=False, height_ratios=heights)
    half = 1.1 * max(1.0, *(np.abs(values[np.isfinite(values)]).max(initial=0.0) for values in planes.values()))
    for place in range(groups * across):
        rows = grid[place // across * len(heights) // groups :, place % across][: len(heights) // groups]
        for axes in rows[place >= len(planes) :] if place >= len(planes) else []:
            axes.set_axis_off()
        if place < len(planes):
            name, values = list(planes.items())[place]
            _draw_plane(rows[0], name, values, half)
            if bars:
                _draw_bars(rows[1], sheet.array(bars[name]) if name in bars else np.zeros(0))
    return figure


def lyapunov(steps: Sequence[int], exponents: Sequence[Any], *, title: str = "") -> Figure:
    """Return a figure of Lyapunov exponents over the training, the largest in bold, with the border of chaos at 0.

    Args:
        steps: The training steps.
        exponents: For each of them `[k]`, per timestep, largest first; as many every time.
        title: Above the figure.

    Raises:
        ValueError: If there is nothing to draw, or not as many rows as steps.
        ModuleNotFoundError: If matplotlib is not installed.
    """
    rows = sheet.array([sheet.array(one) for one in exponents])
    if rows.ndim != 2 or not rows.size or len(rows) != len(steps):
        raise ValueError(
            f"exponents have the shape {list(rows.shape)}; expected [{len(steps)} training steps, k], k >= 1"
        )
    figure, axes = sheet.new_axes(title, "training step", "Lyapunov exponent, nats per timestep")
    axes.axhline(0.0, color=INK, linewidth=1)
    for place, course in reversed(list(enumerate(rows.T))):
        width, alpha = (2.0, 1.0) if place == 0 else (1.0, 0.5)
        axes.plot(list(steps), course, color=LINES[0], linewidth=width, alpha=alpha, marker=".", markersize=3)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    return figure


def _draw_plane(axes: Axes, name: str, values: np.ndarray[Any, Any], half: float) -> None:
    from matplotlib.patches import Circle

    finite = values[np.isfinite(values)]
    outside = np.abs(finite) > 1
    axes.axhline(0, color=GRID, linewidth=0.8, zorder=0)
    axes.axvline(0, color=GRID, linewidth=0.8, zorder=0)
    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=INK, linewidth=1.2))
    for points, colour, marker in ((finite[~outside], LINES[0], "o"), (finite[outside], ALARM, "^")):
        axes.scatter(points.real, points.imag, s=14, color=colour, marker=marker, linewidths=0, zorder=2)
    radius = f"radius {np.abs(finite).max():.3f}" if len(finite) == len(values) else "NaN or Inf"
    axes.set_title(f"{name}\n{radius}".strip(), fontsize=9, color=INK)
    axes.set_aspect("equal")
    axes.set_xlim(-half, half)
    axes.set_ylim(-half, half)
    sheet.label(axes, "real part", "imaginary part")


def _draw_bars(axes: Axes, values: np.ndarray[Any, Any]) -> None:
    ordered = np.sort(values[np.isfinite(values)])[::-1]
    colours = [ALARM if value > 1 else LINES[0] for value in ordered]
    axes.bar(np.arange(len(ordered)), ordered, width=0.9, color=colours)
    axes.axhline(1.0, color=INK, linewidth=1)
    sheet.label(axes, "singular values, largest first", "")
    axes.set_xticks([])
