"""What the artists of a figure hold, once matplotlib has drawn them."""

from __future__ import annotations

import pytest

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'rnn_diag[plot]'")

RGBA = matplotlib.colors.to_rgba


def drawn(figure):
    """Return a figure after every artist was drawn."""
    figure.savefig("/dev/null", format="png", dpi=40)
    return figure


def mesh_colours(axes):
    """Return the colour of every cell of a mesh, rows from below."""
    (mesh,) = axes.collections
    return mesh.to_rgba(mesh.get_array())
