"""What the artists of a figure of gradients hold is what was given."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rnn_diag.reporting import figures
from rnn_diag.reporting.colours import ABSENT, GRADIENT_RATIO, NOT_FINITE, ZERO
from tests.reporting.figures.artists import RGBA, drawn, mesh_colours


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
    assert (zero.get_xdata().tolist(), zero.get_color()) == ([0], ZERO)
    assert (broken.get_xdata().tolist(), broken.get_color()) == ([2, 3], NOT_FINITE)
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
    assert axes.get_facecolor() == RGBA(ABSENT)
    assert axes.get_ylabel() == "timesteps from the end"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.gradient_profile(np.zeros((2, 5))), r"shape \[2, 5\]; expected \[n\] or \[3, n\]"),
        (lambda: figures.gradient_heat_map([], []), "0 columns for 0 training steps"),
        (lambda: figures.gradient_heat_map([3, 3], [[0.0], [0.0]]), "expected ascending ones"),
    ],
)
def test_what_cannot_be_drawn_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()
