"""A recurrence forwards over time, and again from the states that it had."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnn_diag.cells.equations import State
from rnn_diag.cells.of_module import equations_of
from rnn_diag.cells.weights import weights_of
from rnn_diag.engine.unroll import back_to_front, unroll, unroll_from_states
from tests.reference.random_layers import EQUATIONS, mask_of, random_inputs, random_state, random_weights


@pytest.mark.parametrize("module", [nn.LSTM(3, 4), nn.GRU(3, 4), nn.RNN(3, 4), nn.LSTM(3, 4, proj_size=2)])
@pytest.mark.parametrize("lengths", [None, [6, 2, 4]])
def test_states_are_those_of_torchs_kernel(module: nn.RNNBase, lengths: list[int] | None) -> None:
    module = module.double()
    inputs = torch.randn(6, 3, 3, dtype=torch.float64)
    mask = None if lengths is None else mask_of(lengths)
    given = inputs if lengths is None else pack_padded_sequence(inputs, torch.tensor(lengths), enforce_sorted=False)
    output, final = module(given)
    output = output if lengths is None else pad_packed_sequence(output)[0]
    equations, weights = equations_of(module), weights_of(module, "l0")
    assert equations is not None
    cell = torch.zeros(3, 4, dtype=torch.float64) if equations.has_cell else None
    initial = State(torch.zeros(3, output.shape[-1], dtype=torch.float64), cell)
    unrolled = unroll(equations, weights, inputs, initial, mask)
    valid = torch.ones(6, 3, dtype=torch.bool) if mask is None else mask
    torch.testing.assert_close(unrolled.hidden[valid], output[valid], rtol=1e-12, atol=1e-14)
    ends = final if isinstance(final, tuple) else (final,)
    for found, expected in zip(unrolled.final, ends, strict=False):
        torch.testing.assert_close(found, expected[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", EQUATIONS)
@pytest.mark.parametrize("lengths", [None, [5, 3]])
def test_from_the_states_it_is_the_same(kind: str, lengths: list[int] | None) -> None:
    equations, weights, initial = EQUATIONS[kind], random_weights(kind), random_state(kind, 2)
    inputs = random_inputs(kind, 5, 2)
    mask = None if lengths is None else mask_of(lengths)
    whole = unroll(equations, weights, inputs, initial, mask)
    again = unroll_from_states(equations, weights, inputs, initial, whole.hidden, mask)
    for one, other in zip(again.steps.gates, whole.steps.gates, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)
    if whole.cell is not None:
        torch.testing.assert_close(again.cell, whole.cell, rtol=1e-11, atol=1e-12)


def test_sequences_are_reversed_within_their_own_length() -> None:
    steps = torch.arange(8.0).view(4, 2, 1)
    turned = back_to_front(steps, mask_of([4, 2]))
    assert turned[:, 0, 0].tolist() == [6.0, 4.0, 2.0, 0.0]
    assert turned[:, 1, 0].tolist() == [3.0, 1.0, 5.0, 7.0]
    assert torch.equal(back_to_front(turned, mask_of([4, 2])), steps)
