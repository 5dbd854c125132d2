"""The Lyapunov penalty is that of the measured exponents, has the right gradient, and brings them to zero."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_diag import nn as ours
from rnn_diag import record
from rnn_diag.diagnostics import lyapunov_exponents
from rnn_diag.interventions.flossing import exponents_by_layer, gradient_flossing, lyapunov_penalty

KINDS: dict[str, Any] = {
    "rnn": nn.RNN,
    "rnn_sigmoid": lambda *sizes, **options: ours.RNN(*sizes, nonlinearity="sigmoid", **options),
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "lstm_projected": lambda *sizes, **options: nn.LSTM(*sizes, proj_size=2, **options),
    "peephole": ours.PeepholeLSTM,
    "own_gru": ours.GRU,
}


def made(kind: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return KINDS[kind](2, 4, dtype=torch.float64, **options)


def inputs(steps: int = 9) -> Tensor:
    return torch.randn(steps, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("form", ["tensor", "batch_first", "packed"])
@pytest.mark.parametrize("kind", KINDS)
def test_exponents_are_those_that_are_measured_at_every_layer_and_direction(kind: str, form: str) -> None:
    module = made(kind, num_layers=2, bidirectional=True, batch_first=form == "batch_first")
    fed: Any = inputs().transpose(0, 1) if form == "batch_first" else inputs()
    if form == "packed":
        fed = pack_padded_sequence(fed, [9, 4, 6], enforce_sorted=False)
    with record(module) as recording:
        module(fed)
    found = exponents_by_layer(module, fed, k=3, warmup=2)
    assert list(found) == ["l0", "l0_reverse", "l1", "l1_reverse"]
    order = [0, 2, 1] if form == "packed" else [0, 1, 2]  # a packed batch is sorted by length
    for layer, exponents in found.items():
        measured = lyapunov_exponents(recording[layer], k=3, warmup=2)[order]
        torch.testing.assert_close(exponents, measured, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_passes_gradcheck(kind: str) -> None:
    module = made(kind)
    names = [name for name, _ in module.named_parameters()]

    class Penalty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = module

        def forward(self, fed: Tensor) -> Tensor:
            return lyapunov_penalty(self.layer, fed, k=3)

    def penalty(fed: Tensor, *values: Tensor) -> Tensor:
        by_name = {f"layer.{name}": value for name, value in zip(names, values, strict=True)}
        found: Tensor = torch.func.functional_call(Penalty(), by_name, (fed,))
        return found

    leaves = (inputs(5).requires_grad_(), *module.parameters())
    assert torch.autograd.gradcheck(penalty, leaves, fast_mode=True)


def scalar(weight: float) -> ours.RNN:
    layer = ours.RNN(1, 1, nonlinearity="identity", bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight_hh_l0.fill_(weight)
    return layer


@pytest.mark.parametrize("weight", [0.5, 2.0, -0.3])
def test_of_a_scalar_recursion_the_penalty_is_the_squared_logarithm_of_its_weight(weight: float) -> None:
    layer = scalar(weight)
    penalty = lyapunov_penalty(layer, torch.ones(7, 2, 1, dtype=torch.float64))
    penalty.backward()
    logarithm = math.log(abs(weight))
    assert penalty.item() == pytest.approx(logarithm**2, abs=1e-13)
    assert layer.weight_hh_l0.grad.item() == pytest.approx(2 * logarithm / weight, abs=1e-12)
    assert layer.weight_ih_l0.grad is None  # a linear recurrence is as steep everywhere


def test_the_target_is_where_the_penalty_is_zero() -> None:
    fed = torch.ones(7, 2, 1, dtype=torch.float64)
    assert lyapunov_penalty(scalar(2.0), fed, target=math.log(2.0)).item() == pytest.approx(0.0, abs=1e-20)
    assert lyapunov_penalty(scalar(1.0), fed).item() == pytest.approx(0.0, abs=1e-20)


def test_detached_states_leave_the_gradient_of_the_weights_that_stand_in_the_jacobian() -> None:
    module = made("rnn")
    lyapunov_penalty(module, inputs(), k=4, detach_states=True).backward()
    weight, hidden = module.weight_hh_l0.detach().clone().requires_grad_(), module(inputs())[0].detach()
    # All four exponents of four units; their sum is the logarithm of the determinants, which we check through.
    found = exponents_by_layer(module, inputs(), k=4)["l0"].detach()
    sums = ((1 - hidden**2).log().sum(-1) + weight.slogdet().logabsdet).mean(0)
    torch.testing.assert_close(found.sum(-1), sums.detach(), rtol=1e-10, atol=1e-12)
    assert module.weight_ih_l0.grad is None and module.bias_hh_l0.grad is None
    whole = exponents_by_layer(module, inputs(), k=4, detach_states=True)["l0"].sum()
    (ours_grad,) = torch.autograd.grad(whole, module.weight_hh_l0)
    (reference,) = torch.autograd.grad(sums.sum(), weight)
    torch.testing.assert_close(ours_grad, reference, rtol=1e-9, atol=1e-11)


def test_a_penalty_is_added_to_a_loss_and_trains() -> None:
    module = nn.LSTM(2, 8)
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    history = []
    for _ in range(15):
        penalty = lyapunov_penalty(module, inputs().float(), k=4)
        loss = module(inputs().float())[0].pow(2).mean() + penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(penalty.item())
    assert history[-1] < 0.5 * history[0]


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_flossing_brings_the_exponents_of_all_layers_to_zero(kind: Any) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"encoder": kind(2, 8, num_layers=2, batch_first=True), "head": nn.Linear(8, 1)})
    head = model["head"].weight.clone()
    fed = torch.randn(4, 20, 2)
    before = exponents_by_layer(model["encoder"], fed, k=2)
    penalties = gradient_flossing(model, k=2, steps=25, sequence_length=20, learning_rate=0.02)
    after = exponents_by_layer(model["encoder"], fed, k=2)
    assert len(penalties) == 25
    for layer in before:
        assert float(after[layer].abs().mean()) < 0.6 * float(before[layer].abs().mean())
    assert torch.equal(model["head"].weight, head)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_generator_decides_what_flossing_gives() -> None:
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(0)
        module = nn.RNN(2, 4)
        gradient_flossing(module, k=2, steps=3, sequence_length=5, generator=torch.Generator().manual_seed(seed))
        found.append(module.weight_hh_l0.detach().clone())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_a_direction_that_is_wiped_out_is_an_error_and_no_silent_infinity() -> None:
    module = nn.RNN(1, 2, nonlinearity="relu")
    with torch.no_grad():
        module.bias_ih_l0.fill_(-100.0)
    with pytest.raises(ValueError, match=r"RNN l0: a Lyapunov exponent is -inf with k=1; .* try a smaller k"):
        lyapunov_penalty(module, torch.ones(3, 1, 1))


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(TypeError, match="Linear is no recurrent module; expected"):
        lyapunov_penalty(nn.Linear(2, 2), torch.ones(3, 1, 2))
    with pytest.raises(ValueError, match="k=9; expected 1 to 8"):
        lyapunov_penalty(nn.LSTM(2, 4), torch.ones(3, 1, 2), k=9)
    with pytest.raises(ValueError, match=r"warmup=4; expected less than the shortest sequence, of 4"):
        lyapunov_penalty(made("gru"), pack_padded_sequence(inputs(), [9, 6, 4]), warmup=4)
    with pytest.raises(ValueError, match="no recurrent module to train in Linear"):
        gradient_flossing(nn.Linear(2, 2))
