"""What is known of a run: how gradients were clipped."""

from __future__ import annotations

import pytest

from rnn_diag.doctor import Clipping


def test_the_factor_is_that_of_the_steps_that_were_clipped() -> None:
    assert Clipping.of([1.0, 1.0, 0.5, 0.1, 0.3], limit=1.0) == Clipping(0.6, 0.3, 5, 1.0)


def test_a_run_that_is_never_clipped_has_a_share_of_zero() -> None:
    assert Clipping.of([1.0, 1.0], limit=1.0) == Clipping(0.0, 1.0, 2, 1.0)


@pytest.mark.parametrize("factors", [[], [float("nan")], [float("inf"), float("nan")]])
def test_of_norms_that_are_never_finite_nothing_is_known(factors: list[float]) -> None:
    assert Clipping.of(factors, limit=1.0) is None
