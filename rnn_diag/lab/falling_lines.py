"""Names beside lines that fall through the floor of a logarithmic panel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def name_beside(axes: Axes, values: Tensor, name: str, colour: str, at: float) -> None:
    """Write a name to the right of a falling line where it passes a height, or near its end if it stays higher.

    Args:
        axes: The panel.
        values: The line, one value per step from 0.
        name: What to write.
        colour: The line's own.
        at: The height.
    """
    step = int((values >= at).sum()) - 1
    if step == len(values) - 1:
        step = int(0.72 * step)
    place = (step, float(values[step]))
    axes.annotate(name, place, (7, 1), textcoords="offset points", color=colour, fontsize=9, va="bottom")
