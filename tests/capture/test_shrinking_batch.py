"""A batch that shrinks as its sequences end, as a loop over captions lets it, is followed as one batch of sequences."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from rnn_diag.capture import Recording
from rnn_diag.measurements.gradients import GradientSums
from rnn_diag.measurements.influence import Influence
from rnn_diag.measurements.measure import GradientUnits

LENGTHS = torch.tensor([7, 5, 5, 2, 1])
STEPS, BATCH, INPUTS, UNITS = 7, 5, 3, 4
EXACT = {"rtol": 0, "atol": 1e-13}
KINDS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}
Pick = Callable[[Tensor, int], Tensor]
"""Which rows go on, from those that have not ended and the step."""

PICKS: dict[str, Pick] = {
    "in order": lambda rows, t: rows,
    "shuffled": lambda rows, t: rows[torch.randperm(len(rows))] if t else rows,
}


class Captions(nn.Module):
    """A decoder that leaves out the sequences that have ended, dropping some of its state."""

    def __init__(self, kind: str, pick: Pick, rate: float) -> None:
        super().__init__()
        self.cell = KINDS[kind](INPUTS, UNITS).double()
        self.pick, self.rate = pick, rate

    def forward(self, inputs: Tensor) -> list[tuple[Tensor, tuple[Tensor, ...]]]:
        """Return, for every step, the rows that took part and the state that they got."""
        rows, returned = torch.arange(BATCH), []
        state = tuple(torch.zeros(BATCH, UNITS, dtype=torch.float64) for _ in range(1 + (self.kind == "LSTMCell")))
        for t in range(STEPS):
            left = self.pick((LENGTHS[rows] > t).nonzero().squeeze(1), t)
            whole = torch.equal(left, torch.arange(len(left)))
            state = tuple(part[: len(left)] if whole else part[left] for part in state)
            state = tuple(dropout(part, self.rate, training=True) if self.rate else part for part in state)
            rows = rows[left]
            new = self.cell(inputs[t, rows], state if len(state) > 1 else state[0])
            state = new if isinstance(new, tuple) else (new,)
            returned.append((rows, state))
        return returned

    @property
    def kind(self) -> str:
        return type(self.cell).__name__


@pytest.mark.parametrize("sequences", [None, 3])
@pytest.mark.parametrize("rate", [0.0, 0.4])
@pytest.mark.parametrize("pick", PICKS)
@pytest.mark.parametrize("kind", KINDS)
def test_states_and_total_gradients_are_autograds_at_every_step_of_every_sequence(
    kind: str, pick: str, rate: float, sequences: int | None
) -> None:
    torch.manual_seed(2)
    model, inputs = Captions(kind, PICKS[pick], rate), torch.randn(STEPS, BATCH, INPUTS, dtype=torch.float64)
    with Recording(model, sequences) as recording:
        returned = model(inputs)
        for _, state in returned:
            for part in state:
                part.retain_grad()
        sum((1 + t) * state[0].square().sum() for t, (_, state) in enumerate(returned)).backward()  # type: ignore[union-attr]
    trace = recording["cell.l0"]
    followed = trace.sequences
    assert trace.lengths.tolist() == LENGTHS[followed].tolist()
    expected = torch.zeros(2, STEPS, BATCH, UNITS, dtype=torch.float64)
    for t, (rows, state) in enumerate(returned):
        expected[0, t, rows], expected[1, t, rows] = state[0].grad, state[0].detach()
    torch.testing.assert_close(trace.hidden_grad, expected[0][:, followed], **EXACT)
    torch.testing.assert_close(trace.hidden[trace.mask], expected[1][:, followed][trace.mask], **EXACT)
    total = trace.hidden_grad_direct + trace.hidden_grad_recurrent
    torch.testing.assert_close(total, trace.hidden_grad, **EXACT)
    again = trace.sweep(trace.hidden_grad_direct).hidden_grad
    torch.testing.assert_close(again[trace.mask], trace.hidden_grad[trace.mask], **EXACT)
    assert trace.fidelity is not None and trace.fidelity < 1e-13


def test_sequences_that_are_followed_are_followed_to_their_ends_where_only_a_part_is_copied() -> None:
    model, inputs = Captions("gru", PICKS["shuffled"], 0.0), torch.randn(STEPS, BATCH, INPUTS, dtype=torch.float64)
    with Recording(model, 2, check_whole_batch=False) as recording:
        sum(state[0].sum() for _, state in model(inputs)).backward()  # type: ignore[union-attr]
    trace = recording["cell.l0"]
    assert trace.lengths.tolist() == LENGTHS[trace.sequences].tolist()


def test_what_is_measured_is_that_of_a_loop_that_holds_the_state_of_sequences_that_have_ended() -> None:
    torch.manual_seed(0)
    shrinking, inputs = Captions("lstm", PICKS["in order"], 0.0), torch.randn(STEPS, BATCH, INPUTS, dtype=torch.float64)
    with Recording(shrinking) as recording:
        sum(state[0].sum() for _, state in shrinking(inputs)).backward()  # type: ignore[union-attr]
    packed = nn.LSTM(INPUTS, UNITS).double()
    packed.load_state_dict({f"{name}_l0": value for name, value in shrinking.cell.state_dict().items()})
    with Recording(packed) as reference:
        packed(nn.utils.rnn.pack_padded_sequence(inputs, LENGTHS))[0].data.sum().backward()
    one, other = recording["cell.l0"], reference["l0"]
    for measure in (
        lambda trace: GradientSums.of(trace, GradientUnits(1.0, False)).numbers,
        lambda t: Influence.of(t).numbers,
    ):
        assert measure(one) == pytest.approx(measure(other), nan_ok=True, abs=1e-9)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_fused_layers_called_step_by_step_with_fewer_sequences_are_one_batch_of_sequences(
    kind: type[nn.RNNBase],
) -> None:
    torch.manual_seed(1)
    module, inputs = kind(INPUTS, UNITS, 2).double(), torch.randn(STEPS, BATCH, INPUTS, dtype=torch.float64)
    with Recording(module, 3) as recording:
        state, loss = None, torch.zeros((), dtype=torch.float64)
        for t in range(STEPS):
            left = int((t < LENGTHS).sum())
            parts = state if isinstance(state, tuple) else (state,)
            given = None if state is None else tuple(part[:, :left] for part in parts)
            output, state = module(inputs[t : t + 1, :left], given if given is None or len(given) > 1 else given[0])
            loss = loss + output.square().sum()
        loss.backward()
    with Recording(module, 3) as reference:
        module(nn.utils.rnn.pack_padded_sequence(inputs, LENGTHS))[0].data.square().sum().backward()
    for name in ("l0", "l1"):
        trace, expected = recording[name], reference[name]
        assert trace.lengths.tolist() == expected.lengths.tolist()
        for number in ("hidden", "hidden_grad", "hidden_grad_direct"):
            ours, theirs = getattr(trace, number)[trace.mask], getattr(expected, number)[trace.mask]
            torch.testing.assert_close(ours, theirs, **EXACT)
        assert trace.fidelity is not None and trace.fidelity < 1e-13


def test_a_row_that_is_reset_while_others_leave_the_batch_goes_on_without_a_gradient() -> None:
    cell, inputs = nn.GRUCell(INPUTS, UNITS).double(), torch.randn(2, 4, INPUTS, dtype=torch.float64)
    with Recording(cell) as recording:
        first = cell(inputs[0])
        first.retain_grad()
        kept = first[:3] * torch.tensor([[1.0], [0.0], [1.0]], dtype=torch.float64)
        cell(inputs[1, :3], kept).square().sum().backward()
    trace = recording["l0"]
    assert trace.lengths.tolist() == [2, 2, 2, 1]
    torch.testing.assert_close(trace.hidden_grad[0], first.grad, **EXACT)
    assert bool((trace.hidden_grad[0, 1] == 0).all()) and not trace.provenance.is_piece


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_a_batch_that_shrinks_while_units_are_mixed_is_one_sequence_with_autograds_totals(kind: str) -> None:
    cell, inputs = KINDS[kind](INPUTS, UNITS).double(), torch.randn(4, 4, INPUTS, dtype=torch.float64)
    with Recording(cell) as recording:
        returned, state = [], None
        for t, left in enumerate((4, 3, 3, 1)):
            parts = () if state is None else state if isinstance(state, tuple) else (state,)
            parts = tuple(nn.functional.layer_norm(part[:left], (UNITS,)) for part in parts)
            state = cell(inputs[t, :left], None if not parts else parts if len(parts) > 1 else parts[0])
            returned.append(state[0] if isinstance(state, tuple) else state)
            returned[-1].retain_grad()
        sum(one.square().sum() for one in returned).backward()  # type: ignore[union-attr]
    trace = recording["l0"]
    assert trace.lengths.tolist() == [4, 3, 3, 1] and trace.provenance.state_changed_between_calls
    for ours, one in zip(trace.hidden_grad, returned, strict=True):
        torch.testing.assert_close(ours[: len(one)], one.grad, **EXACT)
    assert trace.fidelity is not None and trace.fidelity < 1e-13
