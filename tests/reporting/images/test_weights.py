"""The picture of weights and gradients by gate."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rnn_diag.measurements.gate_weights import map_of
from rnn_diag.reporting.colours import channels
from rnn_diag.reporting.images.weights import COLUMNS, MAGNITUDE, SIDE, TOP, weight_maps


def test_the_largest_weight_has_the_brightest_colour_and_zero_is_black() -> None:
    recurrent = torch.tensor([[0.0, 1e-2], [1.0, 1e-9]])
    picture = weight_maps("l0", {"forget": map_of((torch.full((2, 2), 1e-1), recurrent), None)})

    def colour(row: int, column: int) -> tuple[int, ...]:
        x, y = COLUMNS[0] + (column + 0.5) * SIDE / 4, TOP + (row + 0.5) * 64
        return tuple(picture[int(y), int(x)])

    assert colour(1, 2) == channels(MAGNITUDE.anchors[-1][1])
    assert colour(0, 2) == (0, 0, 0)
    assert colour(1, 3) == channels(MAGNITUDE.anchors[0][1])
    np.testing.assert_allclose(colour(0, 0), MAGNITUDE.rgb(np.array([-1.0]))[0], atol=2)
    np.testing.assert_allclose(colour(0, 3), MAGNITUDE.rgb(np.array([-2.0]))[0], atol=2)


def test_a_gradient_of_zeros_and_one_of_nans_are_drawn() -> None:
    part = (torch.ones(2, 2), torch.ones(2, 2))
    zeros, nans = torch.zeros(2, 2), torch.full((2, 2), float("nan"))
    assert weight_maps("l0", {"input": map_of(part, (zeros, zeros)), "forget": map_of(part, (nans, zeros))}).ndim == 3


def test_no_gate_is_refused() -> None:
    with pytest.raises(ValueError, match="no gate to draw"):
        weight_maps("l0", {})
