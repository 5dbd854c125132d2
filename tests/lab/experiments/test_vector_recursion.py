"""Two linear units, beside powers of their matrix."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.lab.experiments.vector_recursion import VectorRecursion


def test_the_non_normal_matrix_grows_to_a_known_peak_before_it_forgets() -> None:
    outcome = VectorRecursion(radii=(0.9,), steps=30).run()
    normal, other = outcome.tables[0].rows
    assert normal[4:6] == (pytest.approx(1.0), 0)
    assert other[4:6] == (pytest.approx(3.893528, abs=1e-6), 9)
    assert other[2] == pytest.approx(float(torch.linalg.svdvals(torch.tensor([[0.9, 1.0], [0.0, 0.9]]))[0]), abs=1e-6)
    assert normal[7] == other[7] == "forgets"
    assert outcome.holds


def test_at_one_the_normal_matrix_keeps_and_the_other_grows_without_end() -> None:
    outcome = VectorRecursion(radii=(1.0,), steps=60).run()
    normal, other = outcome.tables[0].rows
    assert normal[7] == "holds"
    assert other[7] == "unstable"
    assert other[6] == pytest.approx((59**2 + 1) ** 0.5)
    assert outcome.holds


def test_the_last_state_is_that_of_the_matrix_power() -> None:
    last = VectorRecursion(radii=(0.8,), coupling=-2.0, steps=12).run().tables[0].rows[1][6]
    power = torch.linalg.matrix_power(torch.tensor([[0.8, -2.0], [0.0, 0.8]]).double(), 11)
    assert last == pytest.approx(float(power[:, 1].norm()))


def test_a_coupling_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"coupling=0\.0; expected finite numbers other than 0"):
        VectorRecursion(coupling=0.0)
