"""What the artists of a figure hold is what was given, and figures need no pyplot."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from rnn_diag import record

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'rnn_diag[plot]'")

from rnn_diag.reporting import figures  # noqa: E402
from rnn_diag.reporting.colours import GRADIENT_RATIO  # noqa: E402
from rnn_diag.reporting.figures import sheet  # noqa: E402

RGBA = matplotlib.colors.to_rgba


def drawn(figure):
    """Return a figure after every artist was drawn."""
    figure.savefig("/dev/null", format="png", dpi=40)
    return figure


def mesh_colours(axes):
    """Return the colour of every cell of a mesh, rows from below."""
    (mesh,) = axes.collections
    return mesh.to_rgba(mesh.get_array())


def test_a_profile_is_a_line_through_its_medians_and_a_band_between_its_percentiles():
    rows = np.array([[-6.0, -4.0, -2.0], [-7.0, -5.0, -2.5], [-5.0, -3.0, -1.5]])
    axes = drawn(figures.gradient_profile(rows)).axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[0, -6], [1, -4], [2, -2]]
    corners = {tuple(point) for point in axes.collections[0].get_paths()[0].vertices.tolist()}
    assert {(0, -7), (0, -5), (2, -2.5), (2, -1.5)} <= corners


def test_a_relative_profile_ends_at_one_and_its_ticks_are_powers_of_ten():
    axes = drawn(figures.gradient_profile([-9.0, -5.0, -math.inf], relative=True)).axes[0]
    assert axes.lines[0].get_ydata()[:2].tolist() == [-4.0, 0.0]
    texts = {tick.get_text() for tick in axes.get_yticklabels()}
    assert {"1", "$10^{-4}$"} <= texts


def test_zeros_are_marked_black_at_the_foot_and_what_is_no_number_magenta_at_the_top():
    axes = drawn(figures.gradient_profile([-math.inf, -3.0, math.nan, math.inf, -2.0])).axes[0]
    _, zero, broken = axes.lines
    assert (zero.get_xdata().tolist(), zero.get_color()) == ([0], sheet.EXACTLY_ZERO)
    assert (broken.get_xdata().tolist(), broken.get_color()) == ([2, 3], sheet.NOT_FINITE)
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"exactly 0", "Inf or not a number"}


def test_several_runs_have_a_line_and_a_colour_each():
    axes = drawn(figures.gradient_profile({"tanh": [-3.0, -2.0], "lstm": torch.tensor([-2.5, -2.0])})).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["tanh", "lstm"]
    assert len({line.get_color() for line in axes.lines}) == 2


def test_influence_starts_at_one_and_the_horizon_is_where_it_is():
    axes = drawn(figures.influence([-3.0, -4.0, -5.0], horizon=2)).axes[0]
    curve, horizon = axes.lines
    assert curve.get_ydata().tolist() == [0.0, -1.0, -2.0]
    assert list(horizon.get_xdata()) == [2, 2]


def test_a_heat_map_has_the_scales_colours_at_their_steps_and_timesteps():
    axes = drawn(figures.gradient_heat_map([0, 10], [[-4.0, 0.0], [1.5, -1.0]])).axes[0]
    expected = GRADIENT_RATIO.rgb(np.array([[-4.0, 2.5], [0.0, 0.0]])) / 255
    np.testing.assert_allclose(mesh_colours(axes)[..., :3], expected, atol=0.02)
    assert axes.get_xlim() == (-5.0, 15.0)


def test_a_heat_map_marks_zeros_what_is_no_number_and_what_is_not_there():
    axes = drawn(figures.gradient_heat_map([0, 1], [[-math.inf, math.nan, math.inf, -1.0], [-2.0, -1.0]])).axes[0]
    colours = mesh_colours(axes)
    assert [tuple(colour) for colour in colours[:3, 0]] == [RGBA("#000000"), RGBA("#ff00ff"), RGBA("#ff00ff")]
    assert colours[0, 1, 3] == 0
    assert axes.get_facecolor() == RGBA(sheet.ABSENT)
    assert axes.get_ylabel() == "timesteps from the end"


def test_eigenvalues_outside_the_circle_alone_are_red_triangles():
    figure = drawn(figures.complex_plane(torch.tensor([0.5 + 0.5j, 0.5 - 0.5j, -1.25 + 0j]), [1.25, 0.5]))
    plane, bars = figure.axes
    inside, outside = plane.collections
    assert inside.get_offsets().tolist() == [[0.5, 0.5], [0.5, -0.5]]
    assert outside.get_offsets().tolist() == [[-1.25, 0.0]]
    assert tuple(outside.get_facecolor()[0]) == RGBA(sheet.ALARM)
    assert plane.patches[0].get_radius() == 1
    assert plane.get_xlim()[0] <= -1.25
    assert [(bar.get_height(), bar.get_facecolor()) for bar in bars.patches] == [
        (1.25, RGBA(sheet.ALARM)),
        (0.5, RGBA(sheet.LINES[0])),
    ]


def test_five_matrices_have_five_planes_with_their_names_on_one_scale():
    values = {f"gate {place}": [0.1 * place, 2.0] for place in range(5)}
    planes = [axes for axes in drawn(figures.complex_plane(values, values)).axes if axes.get_title()]
    assert [axes.get_title().split("\n")[0] for axes in planes] == list(values)
    assert {axes.get_xlim() for axes in planes} == {planes[0].get_xlim()}


def test_gates_are_filled_with_shut_from_below_and_open_from_above():
    figure = drawn(figures.gates_over_time({"forget": [[0.5, 0.75], [0.25, 0.0], [0.0, 0.5]]}))
    shut, open_ = figure.axes[0].patches
    assert shut.get_data().values.tolist() == [0.25, 0.0]
    assert open_.get_data().values.tolist() == [1.0, 0.5]
    assert open_.get_data().baseline == 1
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0.5, 0.75]


def test_units_come_in_the_order_of_how_stuck_they_are():
    figure = drawn(figures.units({"input": [[0.5] * 3, [0.0, 1.0, 0.25], [0.5, 0.0, 0.0]]}))
    (mesh,) = figure.axes[0].collections
    assert mesh.get_array().tolist() == [[-1.0, 0.5, -0.25]]
    assert figure.axes[0].get_title(loc="right") == "stuck: 1 shut"


def test_gates_over_training_are_blue_where_open_orange_where_shut_magenta_where_no_number():
    figure = drawn(figures.gates_over_training([0, 5, 10], {"forget": [[-1.0, 1.0], [math.nan, 0.0], [1.0]]}))
    colours = mesh_colours(figure.axes[0])
    assert tuple(colours[0, 0]) == RGBA(sheet.SHUT)
    assert tuple(colours[1, 0]) == RGBA(sheet.OPEN)
    assert tuple(colours[0, 1]) == RGBA(sheet.NOT_FINITE)
    assert colours[0, 2, 3] == 0


def test_lyapunov_exponents_are_lines_and_the_largest_is_bold():
    axes = drawn(figures.lyapunov([0, 50], [[0.1, -0.2], [0.3, -0.1]])).axes[0]
    border, second, largest = axes.lines
    assert list(border.get_ydata()) == [0.0, 0.0]
    assert largest.get_xydata().tolist() == [[0, 0.1], [50, 0.3]]
    assert largest.get_linewidth() > second.get_linewidth()


@pytest.fixture(scope="module")
def trace():
    torch.manual_seed(0)
    model = torch.nn.LSTM(3, 5)
    with record(model) as recording:
        model(torch.randn(7, 4, 3))[0][-1].sum().backward()
    return recording["l0"]


def test_the_numbers_of_a_trace_are_those_of_its_tensors(trace):
    numbers = figures.numbers_of(trace)
    norms = trace.hidden_grad.norm(dim=-1).double()
    torch.testing.assert_close(numbers.log10_norms[2], norms.max(dim=1).values.log10())
    assert (numbers.log10_norms[1] <= numbers.log10_norms[0]).all()
    torch.testing.assert_close(numbers.gates["forget"][0], trace.gates["forget"].mean((1, 2)).double())
    torch.testing.assert_close(numbers.units["forget"][0], trace.gates["forget"].mean((0, 1)).double())
    assert (numbers.log10_influence[:, 0] == 0).all()


def test_the_figures_of_a_trace_show_its_numbers(trace):
    shown = figures.figures_of(trace)
    assert list(shown) == ["gradient_profile", "influence", "complex_plane", "gates_over_time", "units"]
    line = drawn(shown["gradient_profile"]).axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), figures.numbers_of(trace).log10_norms[0])


def test_a_recording_without_a_backward_pass_has_figures_of_what_there_is():
    model = torch.nn.GRU(3, 5)
    with record(model) as recording:
        model(torch.randn(7, 4, 3))
    assert list(figures.figures_of(recording["l0"])) == ["complex_plane", "gates_over_time", "units"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.gradient_profile(np.zeros((2, 5))), r"shape \[2, 5\]; expected \[n\] or \[3, n\]"),
        (lambda: figures.gradient_heat_map([], []), "0 columns for 0 training steps"),
        (lambda: figures.gradient_heat_map([3, 3], [[0.0], [0.0]]), "expected ascending ones"),
        (lambda: figures.gates_over_time({"forget": np.zeros((2, 5))}), r"gate 'forget' has the shape \[2, 5\]"),
        (lambda: figures.units({}), "no gate to draw"),
        (lambda: figures.gates_over_training([0], {}), "no gate to draw"),
        (lambda: figures.complex_plane({"a": [1.0]}, {"b": [1.0]}), r"eigenvalues of \['a'\], singular values of"),
        (lambda: figures.lyapunov([0, 1], [[0.1]]), r"shape \[1, 1\]; expected \[2 training steps, k\]"),
    ],
)
def test_what_cannot_be_drawn_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_drawing_touches_neither_pyplot_nor_the_global_settings():
    code = (
        "import sys, matplotlib\n"
        "kept = [name for name in matplotlib.rcParams if name != 'backend']\n"  # Reading that one loads pyplot.
        "before = {name: matplotlib.rcParams[name] for name in kept}\n"
        "from rnn_diag.reporting import figures\n"
        "figures.gradient_heat_map([0, 1], [[-1.0], [-2.0]]).savefig('/dev/null', format='png')\n"
        "print('matplotlib.pyplot' in sys.modules, {name: matplotlib.rcParams[name] for name in kept} == before)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "True"]


def test_without_matplotlib_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'rnn_diag\[plot\]'"):
        figures.gradient_profile([-1.0])
