"""The plain recurrence, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from rnn_diag.cells.equations import State
from rnn_diag.cells.rnn import NONLINEARITIES, RNNEquations
from rnn_diag.cells.weights import Weights

ONE = Weights(torch.ones(1, 1), torch.ones(1, 1))


@pytest.mark.parametrize(
    ("nonlinearity", "expected"),
    [("tanh", math.tanh(0.5)), ("relu", 0.5), ("sigmoid", 1 / (1 + math.exp(-0.5))), ("identity", 0.5)],
)
def test_the_state_is_the_nonlinearity_of_both_products_together(nonlinearity: str, expected: float) -> None:
    projected, recurrent = torch.tensor([[0.75]]), torch.tensor([[-0.25]])
    step = RNNEquations(nonlinearity).step(projected, recurrent, State(torch.zeros(1, 1)), ONE)
    assert float(step.emitted) == pytest.approx(expected)
    assert step.cell is None and step.gates == ()


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
def test_the_slope_is_that_of_the_function_from_its_value(nonlinearity: str) -> None:
    z = torch.linspace(-2, 2, 9, dtype=torch.float64).add(0.01).requires_grad_()
    function = NONLINEARITIES[nonlinearity]
    value = function.function(z)
    (expected,) = torch.autograd.grad(value.sum(), z)
    torch.testing.assert_close(function.slope(value.detach()), expected)


def test_an_unknown_nonlinearity_is_answered_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"nonlinearity='swish'.*tanh.*relu.*sigmoid.*identity"):
        RNNEquations("swish")
