"""What the artists of a figure of a spectrum hold is what was given."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.reporting import figures
from rnn_diag.reporting.colours import ALARM, LINES
from tests.reporting.figures.artists import RGBA, drawn


def test_eigenvalues_outside_the_circle_alone_are_red_triangles():
    figure = drawn(figures.complex_plane(torch.tensor([0.5 + 0.5j, 0.5 - 0.5j, -1.25 + 0j]), [1.25, 0.5]))
    plane, bars = figure.axes
    inside, outside = plane.collections
    assert inside.get_offsets().tolist() == [[0.5, 0.5], [0.5, -0.5]]
    assert outside.get_offsets().tolist() == [[-1.25, 0.0]]
    assert tuple(outside.get_facecolor()[0]) == RGBA(ALARM)
    assert plane.patches[0].get_radius() == 1
    assert plane.get_xlim()[0] <= -1.25
    assert [(bar.get_height(), bar.get_facecolor()) for bar in bars.patches] == [
        (1.25, RGBA(ALARM)),
        (0.5, RGBA(LINES[0])),
    ]


def test_five_matrices_have_five_planes_with_their_names_on_one_scale():
    values = {f"gate {place}": [0.1 * place, 2.0] for place in range(5)}
    planes = [axes for axes in drawn(figures.complex_plane(values, values)).axes if axes.get_title()]
    assert [axes.get_title().split("\n")[0] for axes in planes] == list(values)
    assert {axes.get_xlim() for axes in planes} == {planes[0].get_xlim()}


def test_lyapunov_exponents_are_lines_and_the_largest_is_bold():
    axes = drawn(figures.lyapunov([0, 50], [[0.1, -0.2], [0.3, -0.1]])).axes[0]
    border, second, largest = axes.lines
    assert list(border.get_ydata()) == [0.0, 0.0]
    assert largest.get_xydata().tolist() == [[0, 0.1], [50, 0.3]]
    assert largest.get_linewidth() > second.get_linewidth()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.complex_plane({"a": [1.0]}, {"b": [1.0]}), r"eigenvalues of \['a'\], singular values of"),
        (lambda: figures.lyapunov([0, 1], [[0.1]]), r"shape \[1, 1\]; expected \[2 training steps, k\]"),
    ],
)
def test_what_cannot_be_drawn_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()
