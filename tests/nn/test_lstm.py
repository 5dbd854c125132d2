"""The LSTM layer: torch's arguments, projections, and what is left of h-detach."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnn_diag.nn import LSTM


@pytest.mark.parametrize("proj_size", [0, 2])
def test_outputs_and_states_are_torchs(proj_size: int) -> None:
    ours = LSTM(3, 4, num_layers=2, proj_size=proj_size, backend="explicit", dtype=torch.float64)
    torchs = nn.LSTM(3, 4, num_layers=2, proj_size=proj_size, dtype=torch.float64)
    torchs.load_state_dict(ours.state_dict())
    inputs = torch.randn(6, 2, 3, dtype=torch.float64)
    (output, states), (expected, theirs) = ours(inputs), torchs(inputs)
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-14)
    for one, other in zip(states, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_checkpoints_of_the_time_of_h_detach_load_and_any_other_value_names_the_decision() -> None:
    assert isinstance(LSTM(3, 4, h_detach=0), nn.LSTM)
    with pytest.raises(ValueError, match=r"h_detach=0\.25; expected 0: .*docs/decisions/h_detach_is_gone\.md"):
        LSTM(3, 4, h_detach=0.25)
