"""What every layer shares."""

from __future__ import annotations

import pytest

from rnn_diag.nn import LSTM, PeepholeLSTM


@pytest.mark.parametrize("layer", [LSTM, PeepholeLSTM])
def test_h_detach_is_accepted_as_zero_alone_and_its_error_names_the_decision(layer) -> None:
    layer(2, 3, h_detach=0)
    with pytest.raises(ValueError, match=r"h_detach=0.25; expected 0: .* docs/decisions/h_detach_is_gone.md"):
        layer(2, 3, h_detach=0.25)
