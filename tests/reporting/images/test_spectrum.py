"""The image of a spectrum says with pixels what the numbers say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rnn_diag.reporting.colours import ALARM, LINES, NOT_FINITE, channels
from rnn_diag.reporting.images.spectrum import Spectrum, eigenvalue_plane


def painted(picture, colour):
    return int((picture == channels(colour)).all(-1).sum())


def test_eigenvalues_outside_the_unit_circle_alone_are_red():
    small = np.array([0.2])
    inside = eigenvalue_plane("l0", {"hidden": Spectrum(np.array([0.5 + 0.2j, 0.5 - 0.2j]), small)})
    outside = eigenvalue_plane("l0", {"hidden": Spectrum(np.array([1.2 + 0j]), small)})
    assert painted(inside, ALARM) == 0
    assert painted(inside, LINES[0]) > 20
    assert painted(outside, ALARM) > 10


def test_eigenvalues_that_are_nan_are_said_to_be():
    unknown = Spectrum(np.full(3, complex(math.nan, math.nan)), np.full(3, math.nan))
    assert painted(eigenvalue_plane("l0", {"hidden": unknown}), NOT_FINITE) > 20


def test_large_eigenvalues_stay_in_the_picture():
    picture = eigenvalue_plane("l0", {"hidden": Spectrum(np.array([5.0 + 0j]), np.array([5.0]))})
    assert painted(picture, ALARM) > 10


def test_planes_of_four_gates_stand_two_by_two():
    one = Spectrum(np.array([0.5 + 0j]), np.array([0.5]))
    single, four = (eigenvalue_plane("l0", {str(k): one for k in range(n)}) for n in (1, 4))
    assert four.shape[0] > 1.5 * single.shape[0]
    with pytest.raises(ValueError, match="no matrix to draw"):
        eigenvalue_plane("l0", {})


@pytest.mark.parametrize("units", [1, 3, 700])
def test_any_number_of_units_can_be_drawn(units):
    values = np.linspace(0, 1, units)
    assert eigenvalue_plane("l0", {"hidden": Spectrum(values + 0j, values)}).shape[2] == 3
