"""What adjoints and Jacobians are made of."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.cells.derivatives import joined_state_jacobian, scaled_rows, through_sigmoid, through_tanh


@pytest.mark.parametrize(("through", "function"), [(through_sigmoid, torch.sigmoid), (through_tanh, torch.tanh)])
def test_a_gradient_through_a_nonlinearity_is_autograds_and_can_be_differentiated_again(through, function) -> None:
    z = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    grad = torch.arange(7.0, dtype=torch.float64)
    activation = function(z)
    (expected,) = torch.autograd.grad(activation, z, grad, create_graph=True)
    found = through(grad, activation)
    torch.testing.assert_close(found, expected)
    again = [torch.autograd.grad(one.sum(), z, retain_graph=True)[0] for one in (found, expected)]
    torch.testing.assert_close(*again)


def test_rows_are_scaled_for_every_element_of_the_batch() -> None:
    scale, matrix = torch.randn(2, 5, 3), torch.randn(3, 4)
    torch.testing.assert_close(scaled_rows(scale, matrix)[1, 2], torch.diag(scale[1, 2]) @ matrix)


def test_the_new_state_is_in_the_rows_hidden_before_memory() -> None:
    blocks = [torch.full((1, 1), value) for value in (1.0, 2.0, 3.0, 4.0)]
    assert joined_state_jacobian(*blocks).tolist() == [[1.0, 2.0], [3.0, 4.0]]
