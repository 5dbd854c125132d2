"""Initialisations set what they say, in every layer and direction, and say why when they cannot."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from rnn_diag import cells
from rnn_diag import nn as ours
from rnn_diag.cells.of_module import equations_of, recurrent_modules, suffixes_of
from rnn_diag.cells.weights import weights_of
from rnn_diag.interventions.initialization import (
    chrono,
    forget_gate_bias,
    identity,
    orthogonal_per_gate,
    rescale_spectral_radius,
)
from tests.reference.minimal_gated_unit import MinimalGatedUnit

EVERY: dict[str, Callable[[], nn.Module]] = {
    "torch_rnn": lambda: nn.RNN(3, 4, num_layers=2, bidirectional=True),
    "torch_lstm": lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True),
    "torch_gru": lambda: nn.GRU(3, 4, num_layers=2, bidirectional=True),
    "torch_rnn_cell": lambda: nn.RNNCell(3, 4),
    "torch_lstm_cell": lambda: nn.LSTMCell(3, 4),
    "torch_gru_cell": lambda: nn.GRUCell(3, 4),
    "torch_base": lambda: nn.RNNBase("LSTM", 3, 4),
    "rnn": lambda: ours.RNN(3, 4, num_layers=2, nonlinearity="sigmoid"),
    "lstm": lambda: ours.LSTM(3, 4, num_layers=2, bidirectional=True),
    "gru": lambda: ours.GRU(3, 4),
    "peephole_lstm": lambda: ours.PeepholeLSTM(3, 4, num_layers=2, bidirectional=True),
    "peephole_lstm_cell": lambda: cells.PeepholeLSTMCell(3, 4),
    "two_blocks": lambda: ours.Recurrent(MinimalGatedUnit, 3, 4, num_layers=2, bidirectional=True),
    "gru_cell": lambda: cells.GRUCell(3, 4),
    "half": lambda: nn.LSTM(3, 4, dtype=torch.bfloat16),
    "double_in_a_model": lambda: nn.Sequential(nn.Linear(2, 3), nn.LSTM(3, 4, dtype=torch.float64)),
}


@pytest.fixture(params=EVERY)
def model(request: pytest.FixtureRequest) -> nn.Module:
    return EVERY[request.param]()


def maps(model: nn.Module) -> list[Tensor]:
    """All recurrent matrices of a model, gate by gate."""
    found = []
    for module, equations in recurrent_modules(model):
        for suffix in suffixes_of(module):
            found += equations.recurrent_maps(weights_of(module, suffix).to(torch.float64)).values()
    return found


def bias_sums(model: nn.Module, block: str) -> list[Tensor]:
    found = []
    for module, equations in recurrent_modules(model):
        for suffix in suffixes_of(module):
            weights = weights_of(module, suffix)
            assert weights.bias_ih is not None and weights.bias_hh is not None
            found.append(equations.by_block((weights.bias_ih + weights.bias_hh).detach().double(), dim=0)[block])
    return found


def tolerance(model: nn.Module) -> float:
    return 0.02 if any(p.dtype is torch.bfloat16 for p in model.parameters()) else 1e-6


def test_every_gate_is_orthogonal(model: nn.Module) -> None:
    orthogonal_per_gate(model, gain=1.5)
    for matrix in maps(model):
        eye = torch.eye(4, dtype=torch.float64)
        torch.testing.assert_close(matrix.T @ matrix, 2.25 * eye, rtol=0, atol=3 * tolerance(model))
    matrices = maps(model)
    assert all(not torch.equal(matrices[0], other) for other in matrices[1:])


def test_every_gate_is_a_multiple_of_the_identity(model: nn.Module) -> None:
    identity(model, scale=0.5)
    assert all(torch.equal(matrix, 0.5 * torch.eye(4, dtype=torch.float64)) for matrix in maps(model))


def test_every_gate_has_the_spectral_radius_asked_for(model: nn.Module) -> None:
    rescale_spectral_radius(model, 0.9)
    for matrix in maps(model):
        assert torch.linalg.eigvals(matrix).abs().max().item() == pytest.approx(0.9, rel=tolerance(model))


def test_only_recurrent_weights_change() -> None:
    for initialise in (orthogonal_per_gate, identity, lambda m: rescale_spectral_radius(m, 2.0)):
        model = nn.Sequential(nn.Linear(2, 3), ours.PeepholeLSTM(3, 4))
        before = {name: value.clone() for name, value in model.state_dict().items()}
        initialise(model)
        changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
        assert changed == ["1.weight_hh_l0"]


def test_an_irnn_has_zero_biases_and_holds_its_state() -> None:
    layer = nn.RNN(2, 4, num_layers=1, nonlinearity="relu")
    identity(layer)
    assert not layer.bias_ih_l0.any() and not layer.bias_hh_l0.any()
    state = torch.rand(1, 3, 4)
    _, final = layer(torch.zeros(50, 3, 2), state)
    assert torch.equal(final, state)


def test_an_lstm_keeps_its_biases_when_its_matrices_become_the_identity() -> None:
    layer = nn.LSTM(2, 4)
    forget_gate_bias(layer, 1.0)
    identity(layer)
    assert torch.equal(bias_sums(layer, "forget")[0], torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("make", [nn.LSTM, ours.LSTM])
def test_with_a_projection_the_product_gets_the_spectral_radius(make: Any) -> None:
    layer = make(3, 4, proj_size=2, dtype=torch.float64)
    before = layer.weight_hr_l0.clone()
    rescale_spectral_radius(layer, 0.7)
    assert torch.equal(layer.weight_hr_l0, before)
    for matrix in maps(layer):
        assert torch.linalg.eigvals(matrix).abs().max().item() == pytest.approx(0.7, rel=1e-9)
    orthogonal_per_gate(layer)
    for block in layer.weight_hh_l0.chunk(4):
        torch.testing.assert_close(block.T @ block, torch.eye(2, dtype=torch.float64))
    identity(layer, scale=2.0)
    assert torch.equal(layer.weight_hh_l0[4:8], 2.0 * torch.eye(4, 2, dtype=torch.float64))


@pytest.mark.parametrize(
    "name", ["torch_lstm", "torch_lstm_cell", "lstm", "peephole_lstm", "half", "double_in_a_model"]
)
def test_the_forget_bias_is_the_sum_of_both_and_nothing_else_changes(name: str) -> None:
    model = EVERY[name]()
    before = bias_sums(model, "output")
    forget_gate_bias(model, 1.0)
    assert all(torch.equal(bias, torch.ones(4, dtype=torch.float64)) for bias in bias_sums(model, "forget"))
    assert all(torch.equal(a, b) for a, b in zip(bias_sums(model, "output"), before, strict=True))


def test_chrono_spreads_memories_between_two_and_the_longest() -> None:
    model = ours.LSTM(2, 400, num_layers=2, bidirectional=True, dtype=torch.float64)
    chrono(model, longest=100)
    for forget, write in zip(bias_sums(model, "forget"), bias_sums(model, "input"), strict=True):
        assert torch.equal(write, -forget)
        steps = 1 / (1 - forget.sigmoid())
        assert steps.min() >= 2 - 1e-9 and steps.max() <= 100 + 1e-9
        # Uniform between 2 and 100: the mean of 400 draws is within 4 standard errors of 51.
        assert abs(steps.mean().item() - 51) < 4 * 98 / math.sqrt(12 * 400)


def test_chrono_makes_a_grus_update_gate_remember() -> None:
    model = nn.GRU(2, 2000, dtype=torch.float64)
    before = bias_sums(model, "reset")[0]
    chrono(model, longest=50)
    steps = 1 / (1 - bias_sums(model, "update")[0].sigmoid())
    assert 2 - 1e-9 <= steps.min() < 4 and 48 < steps.max() <= 50 + 1e-9
    assert torch.equal(bias_sums(model, "reset")[0], before)
    # Held for as many steps as the gate says: h decays as z^t without input.
    with torch.no_grad():
        for name in ("weight_ih_l0", "weight_hh_l0"):
            model.get_parameter(name).zero_()
        model.bias_ih_l0[4000:].zero_(), model.bias_hh_l0[4000:].zero_()
        _, final = model(torch.zeros(10, 1, 2, dtype=torch.float64), torch.ones(1, 1, 2000, dtype=torch.float64))
    torch.testing.assert_close(final[0, 0], (1 - 1 / steps) ** 10)


def test_chrono_draws_from_the_generator_it_is_given() -> None:
    found = []
    for seed in (1, 1, 2):
        layer = nn.LSTM(2, 4)
        state = torch.get_rng_state()
        chrono(layer, 20, torch.Generator().manual_seed(seed))
        assert torch.equal(torch.get_rng_state(), state)
        found.append(bias_sums(layer, "forget")[0])
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_what_is_initialised_still_trains_and_needs_gradients() -> None:
    layer = nn.LSTM(2, 4)
    for initialise in (orthogonal_per_gate, identity, lambda m: chrono(m, 10), lambda m: forget_gate_bias(m, 1.0)):
        initialise(layer)
    layer(torch.randn(5, 3, 2))[0].sum().backward()
    assert all(p.is_leaf and p.requires_grad and p.grad is not None for p in layer.parameters())


ALL_FUNCTIONS: dict[str, Callable[[nn.Module], None]] = {
    "orthogonal_per_gate": orthogonal_per_gate,
    "identity": identity,
    "rescale_spectral_radius": lambda m: rescale_spectral_radius(m, 1.0),
    "forget_gate_bias": lambda m: forget_gate_bias(m, 1.0),
    "chrono": lambda m: chrono(m, 10),
}


@pytest.mark.parametrize("name", ALL_FUNCTIONS)
def test_a_model_without_recurrence_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="no recurrent module in Linear"):
        ALL_FUNCTIONS[name](nn.Linear(2, 3))


@pytest.mark.parametrize("name", ALL_FUNCTIONS)
@pytest.mark.parametrize("parametrise", [weight_norm, spectral_norm])
def test_parametrised_weights_are_refused_and_left_alone(parametrise: Any, name: str) -> None:
    layer = parametrise(nn.LSTM(2, 3), "weight_hh_l0")
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    with pytest.raises(ValueError, match="is parametrised; expected plain weights"):
        ALL_FUNCTIONS[name](layer)
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


@pytest.mark.parametrize("name", ["forget_gate_bias", "chrono"])
def test_missing_biases_are_named_before_anything_changes(name: str) -> None:
    model = nn.ModuleList([nn.LSTM(2, 3), nn.LSTM(2, 3, bias=False)])
    before = model[0].bias_ih_l0.clone()
    with pytest.raises(ValueError, match=r"LSTM l0 has no biases \(bias=False\)"):
        ALL_FUNCTIONS[name](model)
    assert torch.equal(model[0].bias_ih_l0, before)


def test_the_forget_bias_of_a_gru_is_its_update_gates() -> None:
    layer = nn.GRU(2, 3)
    before = bias_sums(layer, "reset")[0]
    forget_gate_bias(layer, 1.0)
    assert torch.equal(bias_sums(layer, "update")[0], torch.ones(3, dtype=torch.float64))
    assert torch.equal(bias_sums(layer, "reset")[0], before)


def test_a_gate_that_keeps_when_it_is_shut_gets_the_negative_bias() -> None:
    layer = ours.Recurrent(MinimalGatedUnit, 2, 3, dtype=torch.float64)
    forget_gate_bias(layer, 2.0)
    assert torch.equal(bias_sums(layer, "forget")[0], torch.full((3,), -2.0, dtype=torch.float64))


def test_chrono_makes_a_minimal_gated_unit_remember() -> None:
    layer = ours.Recurrent(MinimalGatedUnit, 2, 400, dtype=torch.float64)
    chrono(layer, longest=50)
    kept = 1 - bias_sums(layer, "forget")[0].sigmoid()
    steps = 1 / (1 - kept)
    assert 2 - 1e-9 <= steps.min() < 4 and 45 < steps.max() <= 50 + 1e-9
    with torch.no_grad():  # held for as many steps as the gate says: h decays as (1 - f)^t without input
        for name in ("weight_ih_l0", "weight_hh_l0"):
            layer.get_parameter(name).zero_()
        layer.bias_ih_l0[400:].zero_(), layer.bias_hh_l0[400:].zero_()
        _, final = layer(torch.zeros(10, 1, 2, dtype=torch.float64), torch.ones(1, 1, 400, dtype=torch.float64))
    torch.testing.assert_close(final[0, 0], kept**10)


def test_a_plain_rnn_has_nothing_that_remembers() -> None:
    with pytest.raises(ValueError, match=r"RNN l0 has no gate that remembers; its blocks: hidden$"):
        forget_gate_bias(nn.RNN(2, 3), 1.0)
    with pytest.raises(ValueError, match="RNNCell l0 has no gate that remembers; its blocks: hidden"):
        chrono(nn.RNNCell(2, 3), 10)


def test_values_out_of_range_are_named() -> None:
    layer = nn.LSTM(2, 3)
    for radius in (-0.1, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"radius={radius}"):
            rescale_spectral_radius(layer, radius)
    for longest in (1, math.inf):
        with pytest.raises(ValueError, match=f"longest={longest}; expected a finite number of at least 2"):
            chrono(layer, longest)
    nn.init.zeros_(layer.weight_hh_l0[3:6])
    with pytest.raises(ValueError, match="LSTM l0: the forget matrix has no eigenvalue but 0"):
        rescale_spectral_radius(layer, 1.0)


def test_torchs_modules_are_mapped_to_their_equations() -> None:
    expected = {"torch_rnn": "rnn", "torch_lstm": "lstm", "torch_gru": "gru", "torch_base": "lstm", "half": "lstm"}
    expected |= {"torch_rnn_cell": "rnn", "torch_lstm_cell": "lstm", "torch_gru_cell": "gru", "rnn": "rnn"}
    expected |= {"peephole_lstm": "peephole_lstm", "peephole_lstm_cell": "peephole_lstm"}
    for name, equations in expected.items():
        found = equations_of(EVERY[name]())
        assert found is not None and found.name == equations
    assert equations_of(nn.RNN(2, 3, nonlinearity="relu")).nonlinearity == "relu"
    assert equations_of(nn.RNNBase("RNN_TANH", 2, 3)).nonlinearity == "tanh"
    assert equations_of(nn.Linear(2, 3)) is None


def test_suffixes_are_those_of_torchs_parameters() -> None:
    module = nn.LSTM(2, 3, num_layers=2, bidirectional=True, proj_size=2)
    assert suffixes_of(module) == ("l0", "l0_reverse", "l1", "l1_reverse")
    assert suffixes_of(nn.GRUCell(2, 3)) == ("l0",)
    weights = weights_of(module, "l1_reverse")
    assert weights.weight_hr is module.weight_hr_l1_reverse and not weights.extra


@pytest.mark.parametrize(
    "function", [identity, orthogonal_per_gate, lambda module: rescale_spectral_radius(module, 1.0)]
)
def test_a_recurrence_without_matrices_has_none_that_can_be_set(function: Callable[[nn.Module], None]) -> None:
    with pytest.raises(ValueError, match="is indrnn, whose state enters by no matrix"):
        function(ours.Recurrent("rnn_diag.cells.IndRNNEquations", 2, 3))
