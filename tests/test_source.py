"""Where a trace takes its numbers from."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.cells import State
from rnn_diag.trace import OutputGrads, Trace
from tests.reference.random_layers import EQUATIONS, random_inputs, random_state, random_weights

STEPS, BATCH = 7, 3


def test_output_grads_are_asked_for_once_and_only_when_needed() -> None:
    asked = []

    def find() -> OutputGrads:
        asked.append(1)
        return OutputGrads(torch.ones(STEPS, BATCH, 4, dtype=torch.float64), State(None, None))  # type: ignore[arg-type]

    trace = simple_trace("gru", find)
    _ = trace.hidden, trace.gates
    assert not asked
    _ = trace.hidden_grad, trace.preactivation_grad, trace.hidden_grad
    assert asked == [1]


def simple_trace(kind: str, output_grads: object = None) -> Trace:
    inputs = random_inputs(kind, STEPS, BATCH)
    weights = random_weights(kind)
    return Trace.of("l0", EQUATIONS[kind], weights, inputs, random_state(kind, BATCH), output_grads=output_grads)  # type: ignore[arg-type]


def test_the_direct_part_is_what_came_in_however_much_larger_the_recurrent_part_is() -> None:
    from rnn_diag.testing.known import linear_trace  # a scalar recurrence with a loss on its last state

    trace = linear_trace(10.0, steps=30)
    assert trace.hidden_grad[0].item() == pytest.approx(1e29)
    assert trace.hidden_grad_direct.flatten().tolist() == [0.0] * 29 + [1.0]
