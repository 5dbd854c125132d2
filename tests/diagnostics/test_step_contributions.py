from __future__ import annotations

import pytest
import torch

from rnn_diag.cells import State, Weights
from rnn_diag.diagnostics.step_contributions import early_late_cosine, step_weight_grad_norms
from rnn_diag.testing.known import linear_trace
from rnn_diag.trace import OutputGrads, Trace
from tests.reference.random_layers import CELLS, autograd_states, random_trace


@pytest.mark.parametrize("cell", CELLS)
def test_step_contributions_are_the_factors_of_the_weight_gradient(cell: str) -> None:
    trace = random_trace(cell, [6, 4])
    expected_norms, expected_cosines = [], []
    for sequence in range(2):
        weight = trace.weights.weight_hh.clone().requires_grad_()
        weights = Weights.from_names({**trace.weights.present(), "weight_hh": weight})
        copy = Trace.of("l0", trace.equations, weights, trace.inputs, trace.unrolled.initial, trace.mask)
        states, _ = autograd_states(copy, sequence)
        length = int(trace.lengths[sequence])
        loss = sum((states[1 + t] * trace.hidden_grad_direct[t, sequence]).sum() for t in range(length))
        (grad,) = torch.autograd.grad(loss, weight)
        delta, before = trace.swept.recurrent_grad[:length, sequence], trace.previous_hidden[:length, sequence]
        torch.testing.assert_close(torch.einsum("tg,th->gh", delta, before), grad, rtol=1e-10, atol=1e-14)
        outer = torch.einsum("tg,th->tgh", delta, before)
        expected_norms.append(outer.flatten(1).norm(dim=1))
        early, late = outer[: length // 2].sum(0).flatten(), outer[length // 2 :].sum(0).flatten()
        expected_cosines.append(torch.nn.functional.cosine_similarity(early, late, dim=0))
    norms = step_weight_grad_norms(trace)
    for sequence in range(2):
        length = int(trace.lengths[sequence])
        torch.testing.assert_close(norms[:length, sequence], expected_norms[sequence], rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(early_late_cosine(trace), torch.stack(expected_cosines), rtol=1e-10, atol=1e-12)


def test_halves_that_ask_for_opposite_weights_have_cosine_minus_one() -> None:
    linear = linear_trace(0.0, steps=2)
    grads = torch.tensor([1.0, -1.0], dtype=torch.float64).view(2, 1, 1)
    inputs = torch.ones(2, 1, 1, dtype=torch.float64)
    trace = Trace.of(
        "l0",
        linear.equations,
        linear.weights,
        inputs,
        State(torch.ones(1, 1, dtype=torch.float64)),
        output_grads=OutputGrads(grads, State(None)),
    )
    assert early_late_cosine(trace).item() == -1.0
