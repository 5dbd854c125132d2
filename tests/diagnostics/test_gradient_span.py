from __future__ import annotations

import math

import pytest
import torch

from rnn_diag.diagnostics.gradient_norms import hidden_grad_norms
from rnn_diag.diagnostics.gradient_span import gradient_span
from rnn_diag.testing.known import linear_trace
from tests.reference.random_layers import random_trace


def test_span_runs_from_the_first_to_the_last_step_whose_gradient_is_not_zero() -> None:
    trace = random_trace("gru", [6, 6, 6], grads=None)
    norms = torch.tensor([[0, 2, 0], [0, 1, 0], [1e-3, 1, 0], [5, 1, 0], [1, 4, 0], [0, 0, 0]], dtype=torch.float64)
    span = gradient_span(trace, norms)
    assert span.first_step.tolist() == [2, 0, -1]
    assert span.last_step.tolist() == [4, 4, -1]
    assert span.log10_first_to_last[:2].tolist() == pytest.approx([-3.0, math.log10(0.5)])
    assert span.log10_first_to_last[2].isnan()


def test_a_loss_that_ends_before_the_sequence_is_measured_from_its_own_last_step() -> None:
    def third_step_only(hidden: torch.Tensor) -> torch.Tensor:
        hidden[2] = 1.0
        return hidden

    trace = random_trace("rnn", [5], grads=third_step_only)
    norms = hidden_grad_norms(trace)[:, 0]
    span = gradient_span(trace)
    assert (span.first_step.item(), span.last_step.item()) == (0, 2)
    assert span.log10_first_to_last.item() == pytest.approx((norms[0] / norms[2]).log10().item(), abs=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
def test_padding_is_outside_the_span_and_steps_count_in_the_order_of_reading(reverse: bool) -> None:
    trace = random_trace("lstm", [7, 4], reverse=reverse)
    norms = hidden_grad_norms(trace)
    span = gradient_span(trace)
    assert span.first_step.tolist() == [0, 0]
    assert span.last_step.tolist() == [6, 3]
    read_last = norms[0] if reverse else torch.stack((norms[6, 0], norms[3, 1]))
    assert torch.equal(span.last_norm, read_last)


def test_a_norm_that_is_not_finite_stays_visible() -> None:
    trace = linear_trace(0.5, steps=3)
    span = gradient_span(trace, torch.tensor([[math.nan], [1.0], [0.0]]))
    assert span.first_step.item() == 0
    assert span.log10_first_to_last.isnan()
    assert gradient_span(trace, torch.tensor([[math.inf], [1.0], [1.0]])).log10_first_to_last.item() == math.inf


def test_norms_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"norms of shape \(2, 1\); expected \(3, 1\)"):
        gradient_span(linear_trace(0.5, steps=3), torch.ones(2, 1))
