"""The explicit layers give torch's numbers: outputs, states and all gradients, over the whole grid of options."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_diag import nn as ours
from tests.nn.pairs import KINDS, LAYOUTS, STEPS, assert_equal, through, torchs_and_ours


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_states_and_all_gradients_equal_torchs(kind: str, layout: str) -> None:
    flags = itertools.product((1, 2), (False, True), (False, True), (False, True), (False, True))
    for layers, bidirectional, batch_first, bias, with_state in flags:
        options = {"num_layers": layers, "bidirectional": bidirectional, "batch_first": batch_first, "bias": bias}
        torchs, explicit = torchs_and_ours(kind, **options)
        assert_equal(through(torchs, layout, with_state), through(explicit, layout, with_state))


@pytest.mark.parametrize("loss", ["output", "h_n", "c_n"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_on_one_result_alone_gives_torchs_gradients(kind: str, layout: str, loss: str) -> None:
    if loss == "c_n" and "lstm" not in kind:
        return
    torchs, explicit = torchs_and_ours(kind, num_layers=2, bidirectional=True)
    assert_equal(through(torchs, layout, True, (loss,)), through(explicit, layout, True, (loss,)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_torchs_initial_parameters(kind: str) -> None:
    torchs, explicit = torchs_and_ours(kind, num_layers=2, bidirectional=True)
    pairs = list(zip(torchs.named_parameters(), explicit.named_parameters(), strict=True))
    assert all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs)


@pytest.mark.parametrize("kind", KINDS)
def test_state_dicts_load_in_both_directions(kind: str) -> None:
    torchs, explicit = torchs_and_ours(kind, num_layers=2, bidirectional=True)
    with torch.no_grad():
        for parameter in torchs.parameters():
            parameter.add_(1.0)
    explicit.load_state_dict(torchs.state_dict())
    assert all(torch.equal(value, torchs.state_dict()[name]) for name, value in explicit.state_dict().items())
    torchs.load_state_dict(explicit.state_dict())


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_dropout_between_layers_draws_torchs_mask(kind: str, packed: bool) -> None:
    torchs, explicit = torchs_and_ours(kind, num_layers=3, bidirectional=True, dropout=0.4)
    inputs = torch.randn(STEPS, 3, 2, dtype=torch.float64)
    fed = pack_padded_sequence(inputs, [STEPS, 2, 1]) if packed else inputs
    found = []
    for module in (torchs, explicit):
        torch.manual_seed(5)
        output, _ = module(fed)
        found.append(output.data if packed else output)
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)
    explicit.eval()
    assert not torch.allclose(explicit(inputs)[0], explicit.train()(inputs)[0])


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_auto_runs_torchs_kernel_bit_for_bit(name: str) -> None:
    layer = getattr(ours, name)(2, 4, num_layers=2)
    torchs = getattr(nn, name)(2, 4, num_layers=2)
    torchs.load_state_dict(layer.state_dict())
    inputs = torch.randn(5, 3, 2)
    assert torch.equal(layer(inputs)[0], torchs(inputs)[0])


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_an_empty_batch_gives_empty_outputs_as_torchs_does(name: str) -> None:
    layer = getattr(ours, name)(2, 4, backend="explicit")
    output, _ = layer(torch.zeros(5, 0, 2))
    assert output.shape == getattr(nn, name)(2, 4)(torch.zeros(5, 0, 2))[0].shape == (5, 0, 4)
    output.sum().backward()
    assert not layer.weight_hh_l0.grad.any()


@pytest.mark.parametrize("kind", KINDS)
def test_non_contiguous_inputs_and_states_make_no_difference(kind: str) -> None:
    torchs, explicit = torchs_and_ours(kind)
    inputs = torch.randn(2, 3, STEPS, dtype=torch.float64).permute(2, 1, 0)
    torch.testing.assert_close(torchs(inputs)[0], explicit(inputs)[0], rtol=1e-12, atol=1e-12)


def test_positional_arguments_mean_what_they_mean_to_torch() -> None:
    assert ours.LSTM(3, 5, 2, False, True, 0.0, True, 2, None, torch.float64).weight_hr_l1.dtype is torch.float64
    assert ours.RNN(3, 5, 2, "relu", False, True).batch_first
    assert ours.GRU(3, 5, 2, False, True, 0.0, True).bidirectional
