"""Zoneout: what is held is held exactly, and a sweep uses the very masks of the call."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

import rnn_diag
from rnn_diag.cells import LSTMEquations, RecurrentCell, ZoneoutLSTMEquations
from rnn_diag.nn import LSTM, Recurrent


def layer(**options: object) -> Recurrent:
    return Recurrent(ZoneoutLSTMEquations(cell=0.3, hidden=0.4), 2, 3, **options).double()  # type: ignore[arg-type]


def test_without_zoneout_it_is_an_lstm() -> None:
    ours, torchs = Recurrent(ZoneoutLSTMEquations(0.0, 0.0), 2, 3), LSTM(2, 3)
    torchs.load_state_dict(ours.state_dict())
    inputs = torch.randn(5, 2, 2)
    torch.testing.assert_close(ours(inputs)[0], torchs(inputs)[0])


def test_units_that_are_held_keep_their_state_and_others_take_the_new_one() -> None:
    zoneout = layer()
    with rnn_diag.record(zoneout) as recording:
        output, _ = zoneout(torch.randn(6, 4, 2).double())
        output.sum().backward()
    trace = recording["l0"]
    held_cell, held_hidden = (mask.bool() for mask in zoneout.drawn["l0"].chunk(2, dim=-1))
    assert 0.1 < held_cell.double().mean() < 0.6
    assert torch.equal(trace.cell[held_cell], trace.previous_cell[held_cell])  # type: ignore[index]
    assert torch.equal(trace.hidden[held_hidden], trace.previous_hidden[held_hidden])
    step = LSTMEquations().step(
        LSTMEquations().projected(trace.inputs[..., :2], trace.weights),
        LSTMEquations().recurrent(trace.previous_hidden, trace.weights),
        trace.unrolled.initial._replace(cell=trace.previous_cell),
        trace.weights,
    )
    torch.testing.assert_close(trace.cell[~held_cell], step.cell[~held_cell])  # type: ignore[index]


@pytest.mark.parametrize("packed", [False, True])
def test_the_sweep_uses_the_masks_of_the_call_in_stacks_of_both_directions(packed: bool) -> None:
    zoneout = layer(num_layers=2, bidirectional=True)
    inputs = torch.randn(5, 4, 2).double().requires_grad_()
    given = pack_sequence([inputs[:n, k] for k, n in enumerate([5, 5, 3, 1])]) if packed else inputs
    with rnn_diag.record(zoneout) as recording:
        output, (h, c) = zoneout(given)
        data = output.data if packed else output
        ((data * torch.randn_like(data)).sum() + (h * h + c * c).sum()).backward()
    for name in ("l0", "l0_reverse", "l1", "l1_reverse"):
        assert recording[name].fidelity < 1e-12, name
    some = recording.calls("l0")[0]
    assert some.inputs.shape[-1] == 2 + 6 and some.input_grad[..., 2:].count_nonzero() == 0


def test_followed_sequences_have_their_own_masks() -> None:
    zoneout = layer(num_layers=2)
    with rnn_diag.record(zoneout, sequences=2) as recording:
        zoneout(torch.randn(5, 9, 2).double().requires_grad_())[0].square().sum().backward()
    assert torch.equal(recording["l0"].inputs[..., 2:], zoneout.drawn["l0"][:, recording["l0"].sequences])
    assert recording["l0"].is_faithful


def test_in_evaluation_states_are_mixed_by_the_probabilities() -> None:
    zoneout = layer().eval()
    zoneout(torch.randn(2, 1, 2).double())
    assert zoneout.drawn["l0"].unique().tolist() == [0.3, 0.4]


def test_a_cell_that_is_called_step_by_step_is_followed_with_its_masks() -> None:
    cell = RecurrentCell(ZoneoutLSTMEquations(0.3, 0.4), 2, 3).double()
    state = None
    with rnn_diag.record(cell) as recording:
        for x in torch.randn(5, 4, 2).double():
            state = cell(x, state)
        (state[0].square().sum() + state[1].sum()).backward()  # type: ignore[index]
    trace = recording["l0"]
    assert trace.fidelity < 1e-12 and trace.inputs.shape == (5, 4, 8)
