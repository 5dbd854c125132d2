"""What the head reads of a recurrent layer."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from rnn_diag.models import SequenceClassifier, SequenceRegressor
from rnn_diag.models.readout import last_valid, run_recurrent


@pytest.mark.parametrize("bidirectional", [False, True])
def test_last_valid_output_is_what_the_sequence_alone_gives(bidirectional: bool) -> None:
    torch.manual_seed(0)
    recurrent = nn.GRU(3, 4, batch_first=True, bidirectional=bidirectional).double()
    inputs, lengths = torch.randn(3, 6, 3).double(), torch.tensor([2, 6, 1])
    together = last_valid(run_recurrent(recurrent, inputs, lengths)[0], lengths, bidirectional)
    for row, length in enumerate(lengths.tolist()):
        _, last = recurrent(inputs[row : row + 1, :length])
        torch.testing.assert_close(together[row], last[:, 0].flatten(), rtol=0, atol=1e-12)


def test_a_layer_without_hidden_size_is_refused() -> None:
    with pytest.raises(TypeError, match="Identity has no integer attribute hidden_size"):
        SequenceClassifier(nn.Identity(), 3, 2)


def test_the_head_fits_projected_and_bidirectional_layers() -> None:
    layer = partial(nn.LSTM, hidden_size=6, proj_size=2, bidirectional=True)
    assert SequenceRegressor(layer, 3, 5)(torch.randn(2, 4, 3)).shape == (2, 5)
