"""The peephole LSTM against its equations, written once more as a slow loop, and against an LSTM."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_diag.nn import LSTM, PeepholeLSTM

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def slow_loop(layer: PeepholeLSTM, inputs: Tensor, h: Tensor, c: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """One sequence `[T, I]`, gate by gate and unit by unit."""
    w, u = layer.weight_ih_l0, layer.weight_hh_l0
    b = layer.bias_ih_l0 + layer.bias_hh_l0
    units = len(h)
    hidden, memory = [], []
    for x in inputs:
        new_h, new_c = [], []
        for k in range(units):
            z_i, z_f, z_g, z_o = (
                w[gate * units + k] @ x + u[gate * units + k] @ h + b[gate * units + k] for gate in range(4)
            )
            i = torch.sigmoid(z_i + layer.weight_ci_l0[k] * c[k])
            f = torch.sigmoid(z_f + layer.weight_cf_l0[k] * c[k])
            new_c.append(f * c[k] + i * torch.tanh(z_g))
            o = torch.sigmoid(z_o + layer.weight_co_l0[k] * new_c[k])
            new_h.append(o * torch.tanh(new_c[k]))
        h, c = torch.stack(new_h), torch.stack(new_c)
        hidden.append(h)
        memory.append(c)
    return hidden, memory


def test_outputs_and_all_gradients_are_those_of_the_slow_loop() -> None:
    layer = PeepholeLSTM(2, 3, dtype=torch.float64)
    inputs = torch.randn(6, 2, dtype=torch.float64).requires_grad_()
    h0, c0 = torch.randn(2, 1, 3, dtype=torch.float64)
    hidden, memory = slow_loop(layer, inputs, h0[0], c0[0])
    output, (h_n, c_n) = layer(inputs, (h0, c0))
    torch.testing.assert_close(output, torch.stack(hidden), **EXACT)
    torch.testing.assert_close(h_n[0], hidden[-1], **EXACT)
    torch.testing.assert_close(c_n[0], memory[-1], **EXACT)
    leaves = [inputs, *layer.parameters()]
    slow = torch.autograd.grad(torch.stack(hidden).pow(2).sum() + memory[-1].pow(3).sum(), leaves)
    fast = torch.autograd.grad(output.pow(2).sum() + c_n.pow(3).sum(), leaves)
    for a, b in zip(slow, fast, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.parametrize("packed", [False, True])
def test_zero_peepholes_equal_an_lstm_in_outputs_and_shared_gradients(packed: bool) -> None:
    options = {"num_layers": 2, "bidirectional": True, "dtype": torch.float64}
    torchs = nn.LSTM(2, 3, **options)
    layer = PeepholeLSTM(2, 3, **options)
    missing = layer.load_state_dict(torchs.state_dict(), strict=False).missing_keys
    assert len(missing) == 12 and all(name[:9] in ("weight_ci", "weight_cf", "weight_co") for name in missing)
    for name in missing:
        nn.init.zeros_(layer.get_parameter(name))
    inputs = torch.randn(5, 3, 2, dtype=torch.float64)
    fed = pack_padded_sequence(inputs, [5, 4, 1]) if packed else inputs
    shared = [layer.get_parameter(name) for name, _ in torchs.named_parameters()]
    found = []
    for module, parameters in ((torchs, list(torchs.parameters())), (layer, shared)):
        output, (h_n, c_n) = module(fed)
        output = output.data if packed else output
        loss = output.pow(2).sum() + h_n.sum() + c_n.pow(2).sum()
        found.append([output, h_n, c_n, *torch.autograd.grad(loss, parameters)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_peepholes_are_drawn_as_all_other_weights() -> None:
    layer = PeepholeLSTM(2, 100, num_layers=2, bidirectional=True)
    for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
        for name in ("weight_ci", "weight_cf", "weight_co"):
            weight = layer.get_parameter(f"{name}_{suffix}")
            assert weight.shape == (100,)
            assert weight.abs().max() <= 0.1 and weight.abs().max() > 0.08


def test_an_lstm_takes_the_weights_of_a_peephole_lstm_without_its_peepholes() -> None:
    layer, plain = PeepholeLSTM(2, 3), LSTM(2, 3)
    unexpected = plain.load_state_dict(layer.state_dict(), strict=False).unexpected_keys
    assert unexpected == ["weight_ci_l0", "weight_cf_l0", "weight_co_l0"]
    assert torch.equal(plain.weight_hh_l0, layer.weight_hh_l0)


def test_there_is_no_fused_kernel_for_peepholes() -> None:
    with pytest.raises(ValueError, match=r"torch has no kernel for PeepholeLSTM\(2, 3\); choices: auto, explicit"):
        PeepholeLSTM(2, 3, backend="fused")
