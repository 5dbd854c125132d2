"""A state that was copied between two calls continues the sequence."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from rnn_diag import record
from rnn_diag.measurements.gradients import GradientSums, GradientUnits
from rnn_diag.measurements.influence import Influence

STEPS, INPUTS, UNITS = 4, 3, 5
COPIES: dict[str, Callable[[Tensor], Tensor]] = {
    "stacked": lambda h: torch.stack([h, 2 * h])[0],
    "joined and split": lambda h: torch.cat([h, 2 * h], 1).split(UNITS, 1)[0],
    "cloned": lambda h: h.clone(),
    "copied into another": lambda h: torch.empty_like(h).copy_(h),
    "masked with ones": lambda h: h * torch.ones(2, 1, dtype=h.dtype),
    "chosen everywhere": lambda h: torch.where(torch.ones(2, 1, dtype=torch.bool), h, torch.zeros_like(h)),
    "overwritten nowhere": lambda h: h.masked_scatter(torch.zeros(2, 1, dtype=torch.bool), torch.zeros_like(h)),
    "dropped nowhere": lambda h: dropout(h, 0.0, training=True),
    "in the same order": lambda h: h.index_select(0, torch.tensor([0, 1])),
    "carried sideways": lambda h: h.T.contiguous().T,
}


def looped(between: Callable[[Tensor], Tensor]) -> tuple[nn.LSTMCell, Tensor, Callable[[], None]]:
    """Return a cell, its inputs, and what runs and differentiates it."""
    torch.manual_seed(1)
    cell, inputs = nn.LSTMCell(INPUTS, UNITS).double(), torch.randn(STEPS, 2, INPUTS, dtype=torch.float64)

    def run() -> None:
        hidden, memory = cell(inputs[0])
        outputs = [hidden]
        for x in inputs[1:]:
            hidden, memory = cell(x, (between(hidden), between(memory)))
            outputs.append(hidden)
        (outputs[1].sum() + outputs[-1].square().sum()).backward()

    return cell, inputs, run


@pytest.mark.parametrize("copy", COPIES)
def test_a_copied_state_goes_on_and_every_gradient_is_that_of_the_plain_loop(copy: str) -> None:
    cell, _, run = looped(COPIES[copy])
    with record(cell) as recording:
        run()
    plain_cell, _, run = looped(lambda h: h)
    with record(plain_cell) as plain:
        run()
    trace, expected = recording["l0"], plain["l0"]
    assert trace.fidelity < 1e-14
    for name in ("hidden", "cell", "hidden_grad", "hidden_grad_direct", "hidden_grad_recurrent", "cell_grad"):
        torch.testing.assert_close(getattr(trace, name), getattr(expected, name), rtol=0, atol=1e-15)


def test_cells_above_each_other_whose_states_are_stacked_are_one_sequence_each() -> None:
    cells = nn.ModuleList([nn.GRUCell(INPUTS, UNITS), nn.GRUCell(UNITS, UNITS)])
    with record(cells) as recording:
        state = torch.zeros(2, 2, UNITS)
        for x in torch.randn(STEPS, 2, INPUTS):
            below = cells[0](x, state[0])
            state = torch.stack([below, cells[1](below, state[1])])
        state.sum().backward()
    assert [len(recording[name].inputs) for name in ("0.l0", "1.l0")] == [STEPS, STEPS]


def test_a_decoder_that_goes_on_from_a_masked_copy_of_the_encoders_state_is_one_sequence_with_it() -> None:
    module = nn.LSTM(INPUTS, UNITS, num_layers=2).double()
    inputs = torch.randn(STEPS, 2, INPUTS, dtype=torch.float64)
    nobody = torch.zeros(1, 2, 1, dtype=torch.bool)
    with record(module) as recording:
        _, state = module(inputs)
        module(inputs[:2], tuple(part.masked_scatter(nobody, torch.zeros_like(part)) for part in state))[
            0
        ].sum().backward()
    with record(module) as whole:
        module(torch.cat((inputs, inputs[:2])))[0][STEPS:].sum().backward()
    for name in ("l0", "l1"):
        torch.testing.assert_close(recording[name].hidden_grad, whole[name].hidden_grad, rtol=0, atol=1e-14)


def test_only_one_of_two_calls_goes_on_from_a_copied_state() -> None:
    cell, inputs, _ = looped(lambda h: h)
    with record(cell) as recording:
        hidden, memory = cell(inputs[0])
        first = cell(inputs[1], (hidden.clone(), memory.clone()))[0]
        second = cell(inputs[2], (hidden.clone(), memory.clone()))[0]
        (first + second).sum().backward()
    assert [(len(one.inputs), one.provenance.is_piece) for one in recording.calls("l0")] == [(2, False), (1, True)]


def test_a_state_that_goes_on_with_more_sequences_than_were_returned_is_two_pieces() -> None:
    cell, inputs, _ = looped(lambda h: h)
    with record(cell) as recording:
        hidden, memory = cell(inputs[0])
        beams = cell(
            inputs[1].repeat_interleave(3, 0), (hidden.repeat_interleave(3, 0), memory.repeat_interleave(3, 0))
        )
        beams[0].sum().backward()
    assert [(len(one.inputs), one.provenance.is_piece) for one in recording.calls("l0")] == [(1, True), (1, True)]


def test_no_graph_is_held_after_the_block() -> None:
    cell, _, run = looped(COPIES["stacked"])
    with record(cell) as recording:
        run()
        assert recording._log._lineages
    assert not recording._log._lineages
    assert all(call._link is None and not call._alive for call in recording._log.calls[""])


def doubled_up(state: Tensor) -> Tensor:
    """Let two rows continue what the first one returned, as beams do."""
    return state[[0, 0, *range(2, len(state))]]


def normed_over_batch(state: Tensor) -> Tensor:
    """Let every row depend on all rows, and let each remain itself for the most part."""
    return (state - state.mean(0)) / (state.std(0) + 1)


def normed_over_units(state: Tensor) -> Tensor:
    """Let every unit of a row depend on the row's others."""
    return nn.functional.layer_norm(state, state.shape[-1:])


@pytest.mark.parametrize(
    ("between", "is_piece"), [(doubled_up, True), (normed_over_batch, True), (normed_over_units, False)]
)
def test_where_rows_mix_total_gradients_are_exact_and_nothing_is_said_of_first_and_last_steps_or_of_reach(
    between: Callable[[Tensor], Tensor], is_piece: bool
) -> None:
    torch.manual_seed(0)
    cell, states, state = nn.GRUCell(3, 4).double(), [], torch.zeros(5, 4, dtype=torch.float64)
    with record(cell) as recording:
        for x in torch.randn(12, 5, 3, dtype=torch.float64):
            state = cell(x, between(state))
            state.retain_grad()
            states.append(state)
        state.square().sum().backward()
    trace = recording["l0"]
    torch.testing.assert_close(trace.hidden_grad, torch.stack([one.grad for one in states]), rtol=0, atol=0)
    assert trace.provenance.is_piece is is_piece and trace.provenance.state_changed_between_calls
    gradients, influence = GradientSums.of(trace, GradientUnits(1.0, False)), Influence.of(trace)
    assert math.isnan(gradients.hidden.log10_first_to_last) is is_piece
    assert math.isnan(influence.horizon) and math.isnan(influence.share)


def test_what_is_made_of_two_states_is_a_piece_and_so_are_both() -> None:
    cell, inputs, _ = looped(lambda h: h)
    with record(cell) as recording:
        left, right = cell(inputs[0]), cell(inputs[1])
        cell(inputs[2], tuple(one + other for one, other in zip(left, right, strict=True)))[0].sum().backward()
    assert [(len(one.inputs), one.provenance.is_piece) for one in recording.calls("l0")] == [(1, True), (2, True)]
