"""Whether a state was zero, carried over, or is data."""

from __future__ import annotations

import torch
from torch import nn

from rnn_diag.capture import record
from rnn_diag.measurements.starts import InitialStates


def starts(*initial: torch.Tensor | None) -> InitialStates:
    """Return the initial states of calls that start from these; `-1` stands for where the call before ended."""
    layer = nn.GRU(2, 3)
    with record(layer) as recording:
        state = None
        for given in initial:
            start = state.detach() if given is not None and bool((given == -1).all()) and state is not None else given
            output, state = layer(torch.randn(5, 2, 2), start)
            output.sum().backward()
    parts = [InitialStates.of(trace) for trace in recording.calls("l0")]
    return sum(parts[1:], start=parts[0])


CARRIED = -torch.ones(1, 2, 3)


def test_zero_is_zero() -> None:
    found = starts(None, None)
    assert (found.at_zero, found.carried, found.cut_off) == (True, False, False)


def test_a_state_that_the_call_before_left_is_carried() -> None:
    found = starts(None, CARRIED)
    assert (found.at_zero, found.carried) == (False, True)


def test_a_state_that_is_data_is_cut_off_and_not_carried() -> None:
    found = starts(None, 0.5 * torch.randn(1, 2, 3).tanh())
    assert (found.at_zero, found.carried, found.cut_off) == (False, False, True)


def test_a_state_that_the_layer_could_not_have_left_is_not_carried() -> None:
    assert not starts(None, 3.0 + torch.randn(1, 2, 3).abs()).cut_off
