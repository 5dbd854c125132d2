"""The written backward pass of the peephole LSTM."""

from __future__ import annotations

import pytest

from rnn_diag.lab.parts.peephole_reference import backward_errors


@pytest.mark.parametrize("seed", [0, 1])
def test_the_written_backward_pass_is_that_of_autograd_and_of_differences(seed: int) -> None:
    errors = backward_errors(seed)
    assert errors.weights < 1e-12
    assert errors.states < 1e-12
    assert 0.0 < errors.differences < 1e-6
