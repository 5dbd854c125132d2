"""The GRU layer takes torch's arguments and weights."""

from __future__ import annotations

import inspect

import torch
from torch import nn

from rnn_diag.nn import GRU


def test_it_is_torchs_module_with_torchs_weights_and_the_same_draws() -> None:
    torch.manual_seed(0)
    ours = GRU(3, 4, num_layers=2, bidirectional=True, backend="explicit")
    torch.manual_seed(0)
    torchs = nn.GRU(3, 4, num_layers=2, bidirectional=True)
    assert isinstance(ours, nn.GRU)
    for (name, one), (other_name, other) in zip(ours.named_parameters(), torchs.named_parameters(), strict=True):
        assert name == other_name and torch.equal(one, other)
    inputs = torch.randn(5, 2, 3)
    torch.testing.assert_close(ours(inputs)[0], torchs(inputs)[0], rtol=1e-5, atol=1e-6)


def test_arguments_have_torchs_names_and_order() -> None:
    names = list(inspect.signature(GRU).parameters)
    assert names == ["input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional",
                     "device", "dtype", "backend"]  # fmt: skip
