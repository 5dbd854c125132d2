"""The GRU's leak, beside powers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rnn_diag.lab.experiments.gru_leak import GruLeak, _leak


def test_half_of_the_state_is_left_per_step_when_the_gate_is_half_open() -> None:
    hidden = _leak(0.5, 8).hidden
    assert hidden.tolist() == pytest.approx([math.tanh(1.0) / 2 ** (t + 1) for t in range(8)])


def test_a_large_gate_remembers() -> None:
    outcome = GruLeak(update_gates=(0.99, 0.5), steps=30, units=8).run()
    rows = {row[0]: row for row in outcome.tables[0].rows}
    assert rows[0.99][1] == pytest.approx(99.4992, rel=1e-5)
    assert rows[0.5][1] == pytest.approx(1.4427, rel=1e-4)
    assert rows[0.99][4] < rows[0.5][4]  # type: ignore[operator]
    assert outcome.holds


def test_the_jacobian_at_rest_is_that_of_autograd() -> None:
    jacobian, expected = GruLeak(units=5, seed=3)._at_rest()
    assert torch.allclose(jacobian, expected, atol=1e-15)
    assert not torch.allclose(jacobian, torch.eye(5).double() / 2, atol=0.01)


@pytest.mark.parametrize("z", [0.0, 1.0])
def test_a_gate_that_is_wide_open_or_shut_is_refused(z: float) -> None:
    with pytest.raises(ValueError, match=r"update_gates=.*; expected finite numbers above 0 and below 1"):
        GruLeak(update_gates=(0.5, z))
