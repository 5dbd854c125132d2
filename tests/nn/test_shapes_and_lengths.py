"""Whatever the sizes and lengths, the explicit layers give torch's numbers."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_diag import nn as ours
from tests.nn.pairs import assert_equal, results

NAMES = st.sampled_from(["RNN", "GRU", "LSTM"])
SIZES = st.integers(1, 4)


def compare(name: str, features: int, units: int, fed: Any, leaf: torch.Tensor, **options: Any) -> None:
    found = []
    for library, backend in ((nn, {}), (ours, {"backend": "explicit"})):
        torch.manual_seed(0)
        layer = getattr(library, name)(features, units, dtype=torch.float64, **options, **backend)
        named = results(*layer(fed))
        loss = sum((result.pow(2).sum() for result in named.values()), torch.zeros(()))
        found.append([*named.values(), *torch.autograd.grad(loss, [leaf, *layer.parameters()], retain_graph=True)])
    assert_equal(*found)


@settings(max_examples=40)
@given(NAMES, SIZES, SIZES, SIZES, SIZES, st.integers(1, 3), st.booleans(), st.booleans())
@example("LSTM", 1, 1, 1, 1, 1, False, False)
@example("GRU", 1, 1, 1, 1, 2, True, True)
def test_tensors_of_any_size(
    name: str, steps: int, batch: int, features: int, units: int, layers: int, bidirectional: bool, batch_first: bool
) -> None:
    shape = (batch, steps, features) if batch_first else (steps, batch, features)
    inputs = torch.randn(shape, dtype=torch.float64).requires_grad_()
    options = {"num_layers": layers, "bidirectional": bidirectional, "batch_first": batch_first}
    compare(name, features, units, inputs, inputs, **options)


@settings(max_examples=40)
@given(NAMES, st.lists(st.integers(1, 5), min_size=1, max_size=5), SIZES, SIZES, st.integers(1, 2), st.booleans())
@example("RNN", [1], 1, 1, 1, False)
@example("LSTM", [1, 1, 1], 2, 2, 2, True)
@example("GRU", [5, 5, 5], 2, 2, 1, True)
@example("LSTM", [1, 5, 1], 1, 1, 1, True)
def test_packed_sequences_of_any_lengths(
    name: str, lengths: list[int], features: int, units: int, layers: int, bidirectional: bool
) -> None:
    inputs = torch.randn(max(lengths), len(lengths), features, dtype=torch.float64).requires_grad_()
    fed = pack_padded_sequence(inputs, lengths, enforce_sorted=False)
    compare(name, features, units, fed, inputs, num_layers=layers, bidirectional=bidirectional)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.booleans())
def test_a_packed_sequence_is_what_each_sequence_is_alone(lengths: list[int], bidirectional: bool) -> None:
    layer = ours.PeepholeLSTM(2, 3, num_layers=2, bidirectional=bidirectional, dtype=torch.float64)
    inputs = torch.randn(max(lengths), len(lengths), 2, dtype=torch.float64)
    packed, (h_n, c_n) = layer(pack_padded_sequence(inputs, lengths, enforce_sorted=False))
    output, _ = nn.utils.rnn.pad_packed_sequence(packed)
    for b, length in enumerate(lengths):
        alone, (h, c) = layer(inputs[:length, b])
        torch.testing.assert_close(output[:length, b], alone, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(h_n[:, b], h, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(c_n[:, b], c, rtol=1e-12, atol=1e-12)
        assert not output[length:, b].any()
