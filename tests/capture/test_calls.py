"""Which sequences of a batch are followed, and what is said of those that are not."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn

from rnn_diag import record
from rnn_diag.capture import Recording
from rnn_diag.capture.calls import Selection

CPU = torch.device("cpu")


def followed(batch: int, sequences: int | None) -> list[int]:
    return Selection(batch, sequences, CPU).indices.tolist()


@pytest.mark.parametrize("batch", [9, 16, 64, 100, 1024])
def test_followed_rows_are_the_first_and_others_in_order_each_once(batch: int) -> None:
    rows = followed(batch, 8)
    assert rows[0] == 0 and rows == sorted(set(rows)) and len(rows) == 8 and rows[-1] < batch


@pytest.mark.parametrize("period", [2, 3, 4, 5, 8, 12, 16])
def test_no_period_of_the_batch_makes_all_followed_rows_alike(period: int) -> None:
    for repeats in (8, 16, 64):
        assert len({row % period for row in followed(period * repeats, 8)}) >= min(period, 3) - (period == 2)


def test_the_choice_is_the_same_at_every_call_and_draws_no_random_number() -> None:
    random.seed(1)
    torch.manual_seed(1)
    before = random.getstate(), torch.get_rng_state()
    assert followed(64, 8) == followed(64, 8)
    assert random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[1])


def test_as_many_sequences_as_there_are_or_more_are_all() -> None:
    assert followed(3, None) == followed(3, 3) == followed(3, 8) == [0, 1, 2]
    assert followed(0, 8) == []


@pytest.mark.parametrize("whole", [True, False], ids=["whole batch copied", "part copied"])
@pytest.mark.parametrize("as_cell", [False, True], ids=["layer", "cell"])
def test_that_only_other_sequences_have_a_gradient_is_known(as_cell: bool, whole: bool) -> None:
    module = nn.GRUCell(3, 4) if as_cell else nn.GRU(3, 4)
    for used, expected in ((slice(1, 2), True), (slice(0, 1), False)):  # the second row is not followed, the first is
        with Recording(module, sequences=1, check_whole_batch=whole) as recording:
            states = run(module, torch.randn(5, 6, 3))
            states[:, used].sum().backward()
        trace = recording["l0"]
        assert trace.has_gradients and trace.unfollowed_have_gradient is expected
        assert bool((trace.hidden_grad == 0).all()) is expected


def test_where_all_are_followed_no_other_has_a_gradient() -> None:
    module = nn.GRU(3, 4)
    with record(module) as recording:
        (run(module, torch.randn(5, 6, 3)) * 0).sum().backward()
    assert recording["l0"].unfollowed_have_gradient is False


def run(module: nn.Module, inputs: Tensor) -> Tensor:
    if isinstance(module, nn.GRU):
        return module(inputs)[0]
    states, state = [], None
    for x in inputs:
        state = module(x, state)
        states.append(state)
    return torch.stack(states)
