"""Padding, directions, states that are not handed on, axes that are swapped."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnn_diag.doctor import Severity
from tests.doctor.small_networks import FEATURES, UNITS, every_step, found, inputs, keeping, last_step, lstm, seen


def end_states(model: nn.Module, batch: Tensor) -> Tensor:
    return model(batch)[1][0].square().mean()


def test_a_backward_direction_read_at_the_last_step_is_dead_and_at_its_own_end_is_not() -> None:
    layer = keeping(lstm(bidirectional=True))
    (finding,) = seen(layer).findings
    assert (finding.id, finding.layer) == ("dead_direction", "l0_reverse")
    assert found(layer, loss=end_states) == []


LENGTHS = (40, 8, 10, 12)


def padded() -> Tensor:
    batch = inputs()
    for sequence, length in enumerate(LENGTHS):
        batch[length:, sequence] = 0
    return batch


def packed(lengths: tuple[int, ...] = LENGTHS) -> PackedSequence:
    return pack_padded_sequence(inputs(), torch.tensor(lengths), enforce_sorted=False)


def last_states(model: nn.Module, batch: PackedSequence) -> Tensor:
    return model(batch)[1][0].square().mean()


def test_zeros_after_the_end_of_sequences_are_padding_that_is_read_unless_packed() -> None:
    assert found(keeping(lstm()), padded())[0] == "padding_read"
    assert "padding_read" not in found(keeping(lstm()), packed(), last_states)


def within_lengths(model: nn.Module, batch: Tensor) -> Tensor:
    """A loss that leaves padding out, as one with an `ignore_index` does."""
    steps = torch.arange(len(batch)).unsqueeze(1) < torch.tensor(LENGTHS)
    return model(batch)[0][steps].square().mean()


def test_padding_that_the_loss_leaves_out_is_none_unless_a_layer_reads_it_first() -> None:
    assert "padding_read" not in found(keeping(lstm()), padded(), within_lengths)
    assert "padding_read" in found(keeping(lstm(bidirectional=True)), padded(), within_lengths)


def test_a_delay_without_input_that_all_sequences_share_is_not_taken_for_padding() -> None:
    batch = inputs()
    batch[15:] = 0
    assert "padding_read" not in found(keeping(lstm()), batch)


def test_a_batch_that_is_mostly_padding_is_found_and_one_that_is_a_third_is_not() -> None:
    assert found(keeping(lstm()), packed(), last_states) == ["padding_dominates"]
    assert found(keeping(lstm()), packed((40, 20, 30, 20)), last_states) == []


class Stepwise(nn.Module):
    """A cell in a loop, whose state is handed on as it is, detached, or not at all."""

    def __init__(self, hand_on: Callable[[Tensor], Tensor | None]) -> None:
        super().__init__()
        self.cell, self.hand_on = nn.GRUCell(FEATURES, UNITS), hand_on

    def forward(self, batch: Tensor) -> tuple[Tensor]:
        state, states = None, []
        for step in batch:
            state = self.cell(step, None if state is None else self.hand_on(state))
            states.append(state)
        return (torch.stack(states),)


def test_a_cell_whose_state_is_never_handed_on_is_told_that() -> None:
    (finding,) = seen(Stepwise(lambda state: None), loss=every_step).findings
    assert (finding.id, finding.layer, finding.severity) == ("state_not_handed_on", "cell.l0", Severity.WARNING)
    assert "40 calls of one step" in finding.meaning
    assert finding.call == "output, state = model.cell(inputs, state)"


def test_sequences_of_one_step_have_nothing_recurrent() -> None:
    (finding,) = seen(lstm(), inputs(1), every_step).findings
    assert finding.id == "state_not_handed_on"
    assert "axis of length 1" in finding.advice


def test_a_state_that_is_detached_at_every_step_is_told_that_and_one_that_is_handed_on_is_not() -> None:
    assert found(Stepwise(lambda state: state.detach()), loss=every_step) == ["detached_at_every_step"]
    handed_on = found(Stepwise(lambda state: state), loss=every_step)
    assert not {"detached_at_every_step", "state_not_handed_on"} & set(handed_on)


def test_a_state_that_is_detached_now_and_then_is_truncated() -> None:
    count = iter(range(1000))
    words = found(Stepwise(lambda state: state.detach() if next(count) % 4 == 3 else state), loss=every_step)
    assert words == ["truncation_too_short"]


def last_of_the_batch(model: nn.Module, batch: Tensor) -> Tensor:
    """The last step, if the batch came first; the last sequence otherwise."""
    return model(batch)[0][:, -1].square().mean()


@pytest.mark.parametrize(
    ("sequences", "words"),
    [(None, "11 of 12 sequences"), (2, "2 of 2 sequences get no gradient at any step; others of the batch do")],
)
def test_batch_and_time_that_are_swapped_leave_sequences_without_a_gradient(sequences: int | None, words: str) -> None:
    report = seen(keeping(lstm()), inputs(6, 12), last_of_the_batch, sequences=sequences)
    (finding,) = report.of("silent_sequences")
    assert finding.severity is Severity.WARNING
    assert words in finding.meaning and "Is the first axis time?" in finding.meaning
    right = keeping(lstm(batch_first=True))
    assert "silent_sequences" not in found(right, inputs(6, 12), last_of_the_batch)


@pytest.mark.parametrize("sequences", [None, 2])
def test_nothing_is_advised_that_counts_the_batch_as_steps(sequences: int | None) -> None:
    words = [one.id for one in seen(lstm(), inputs(40, 12), last_of_the_batch, sequences=sequences).findings]
    assert words == ["silent_sequences"]


class Beams(nn.Module):
    """A cell that reads, and then writes from its state, each sequence several times."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(FEATURES, UNITS)

    def forward(self, batch: Tensor) -> tuple[Tensor]:
        state = batch.new_zeros(batch.shape[1], UNITS)
        for x in batch:
            state = self.cell(x, state)
        beams = state.repeat_interleave(3, 0)
        for _ in range(4):
            beams = self.cell(batch.new_zeros(len(beams), FEATURES), beams)
        return (beams.unsqueeze(0),)


def test_a_state_that_goes_on_in_several_beams_is_said_not_to_be_followed_and_no_end_is_compared_with_a_start() -> None:
    report = seen(Beams())
    (finding,) = report.of("state_not_followed")
    assert finding.severity is Severity.INFO and "other sequences than it was returned with" in finding.meaning
    assert math.isnan(report.vitals["cell.l0"].log10_first_to_last)


def test_a_normalised_state_is_judged_by_its_total_gradient() -> None:
    normalise = nn.LayerNorm(UNITS, elementwise_affine=False)
    report = seen(Stepwise(normalise), loss=every_step)
    (finding,) = report.of("state_not_followed")
    assert "mixes units" in finding.meaning
    assert "not judged: horizon of cell.l0" in str(report)
    shrunk = Stepwise(lambda state: 0.3 * normalise(state))
    (finding,) = seen(shrunk, loss=last_step).of("vanishing")
    assert "The gradient at step 0 is" in finding.meaning


def test_a_dropped_state_is_followed_and_nothing_is_said_of_it() -> None:
    words = found(Stepwise(lambda state: nn.functional.dropout(state, 0.1)), loss=every_step)
    assert "state_not_followed" not in words


def padded_in_front() -> Tensor:
    batch = inputs()
    for sequence, length in enumerate(LENGTHS):
        batch[: len(batch) - length, sequence] = 0
    return batch


def test_zeros_in_front_of_sequences_are_padding_in_front() -> None:
    (finding,) = seen(keeping(lstm()), padded_in_front()).findings
    assert (finding.id, finding.severity) == ("padding_in_front", Severity.ADVICE)
    assert finding.evidence[0].value == pytest.approx(sum(40 - length - 1 for length in LENGTHS if length < 40) / 160)


def test_padding_in_front_is_what_a_backward_direction_ends_with() -> None:
    report = seen(keeping(lstm(bidirectional=True)), padded_in_front(), end_states)
    severities = {one.layer: one.severity for one in report.of("padding_in_front")}
    assert severities == {"l0": Severity.ADVICE, "l0_reverse": Severity.WARNING}


def test_a_delay_in_front_that_all_sequences_share_is_not_taken_for_padding() -> None:
    batch = inputs()
    batch[:15] = 0
    assert "padding_in_front" not in found(keeping(lstm()), batch)
