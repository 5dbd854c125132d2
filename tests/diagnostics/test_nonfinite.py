from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from rnn_diag.cells import State
from rnn_diag.diagnostics.known_traces import linear_trace
from rnn_diag.diagnostics.nonfinite import NonFinite, first_nonfinite
from rnn_diag.trace import OutputGrads, Trace
from tests.diagnostics.traces import CELLS, random_trace


@pytest.mark.parametrize("cell", CELLS)
def test_a_finite_layer_has_none(cell: str) -> None:
    assert first_nonfinite(random_trace(cell, [5, 3])) is None


@pytest.mark.parametrize(("reverse", "step"), [(False, 1), (True, 2)])
def test_a_nan_input_is_found_where_the_layer_read_it_first(reverse: bool, step: int) -> None:
    clean = random_trace("lstm", [4, 3], reverse=reverse)
    inputs = clean.inputs.clone()
    inputs[1:3, 1] = math.nan
    trace = Trace(
        "encoder.l0", clean.equations, clean.weights, inputs, clean.unrolled.initial, clean.mask, reverse=reverse
    )
    assert first_nonfinite(trace) == NonFinite("encoder.l0", "inputs", step, sequence=1, count=4)


def test_an_exploding_state_is_found_at_the_step_where_it_overflows() -> None:
    found = first_nonfinite(linear_trace(1e100, steps=6, batch=2))
    assert found == NonFinite("l0", "preactivation of hidden", 3, sequence=0, count=6)


@pytest.mark.parametrize(("reverse", "step"), [(False, 2), (True, 1)])
def test_a_nan_gradient_is_found_at_the_latest_step_that_has_one(reverse: bool, step: int) -> None:
    def with_nan(zeros: Tensor) -> Tensor:
        grads = torch.ones_like(zeros)
        grads[1:3, 0] = math.nan
        return grads

    found = first_nonfinite(random_trace("gru", [4, 4], reverse=reverse, grads=with_nan))
    assert found is not None
    assert (found.quantity, found.step, found.sequence) == ("gradient of hidden", step, 0)


def test_a_nan_in_the_padding_is_nobodys_business() -> None:
    clean = random_trace("rnn", [4, 2])
    inputs = clean.inputs.clone()
    inputs[2:, 1] = math.nan
    grads = OutputGrads(clean.hidden_grad_direct, State(None))
    trace = Trace(
        "l0", clean.equations, clean.weights, inputs, State(clean.initial_hidden), clean.mask, output_grads=grads
    )
    assert first_nonfinite(trace) is None
