"""Layers live as torch's do: copied, pickled, saved, reparametrised, compiled, in half precision."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_diag import nn as ours
from tests.reference.minimal_gated_unit import MinimalGatedUnit

LAYERS: dict[str, Any] = {
    "rnn": lambda **options: ours.RNN(2, 4, backend="explicit", **options),
    "rnn_sigmoid": lambda **options: ours.RNN(2, 4, nonlinearity="sigmoid", **options),
    "gru": lambda **options: ours.GRU(2, 4, backend="explicit", **options),
    "lstm": lambda **options: ours.LSTM(2, 4, backend="explicit", **options),
    "peephole_lstm": lambda **options: ours.PeepholeLSTM(2, 4, **options),
    "two_blocks": lambda **options: ours.Recurrent(MinimalGatedUnit, 2, 4, **options),
}


@pytest.fixture(params=LAYERS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def run(layer: nn.Module, inputs: Tensor) -> Tensor:
    output: Tensor = layer(inputs)[0]
    return output


def test_copies_pickles_and_files_give_the_same_numbers(kind: str, tmp_path: Path) -> None:
    layer = LAYERS[kind](num_layers=2)
    inputs = torch.randn(5, 3, 2)
    run(layer, inputs).sum().backward()
    torch.save(layer, tmp_path / "layer.pt")
    again = [
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(tmp_path / "layer.pt", weights_only=False),
    ]
    for other in again:
        assert torch.equal(run(layer, inputs), run(other, inputs))
        other.weight_hh_l0.data.zero_()
        assert layer.weight_hh_l0.any() and not torch.equal(run(layer, inputs), run(other, inputs))


def test_a_state_dict_goes_through_a_file(kind: str) -> None:
    layer, other = LAYERS[kind](), LAYERS[kind]()
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file))
    inputs = torch.randn(5, 3, 2)
    assert torch.equal(run(layer, inputs), run(other, inputs))


def test_weight_norm_trains_the_length_and_direction_of_the_recurrent_matrix(kind: str) -> None:
    layer = LAYERS[kind]()
    inputs = torch.randn(5, 3, 2)
    before = run(layer, inputs)
    weight_norm(layer, "weight_hh_l0")
    torch.testing.assert_close(run(layer, inputs), before)
    run(layer, inputs).pow(2).sum().backward()
    length, direction = layer.parametrizations.weight_hh_l0.original0, layer.parametrizations.weight_hh_l0.original1
    assert length.grad.any() and direction.grad.any()
    with torch.no_grad():
        length.mul_(2.0)
    assert not torch.allclose(run(layer, inputs), before)


def test_functional_call_uses_the_weights_it_is_given(kind: str) -> None:
    layer, other = LAYERS[kind](), LAYERS[kind]()
    inputs = torch.randn(5, 3, 2)
    output, _ = torch.func.functional_call(layer, dict(other.named_parameters()), (inputs,))
    assert torch.equal(output, run(other, inputs))
    output.sum().backward()
    assert layer.weight_hh_l0.grad is None and other.weight_hh_l0.grad.any()


def test_not_a_number_in_one_sequence_leaves_the_others_alone(kind: str) -> None:
    layer = LAYERS[kind](num_layers=2, bidirectional=True)
    inputs = torch.randn(5, 3, 2)
    expected = run(layer, inputs)
    inputs[2, 1] = float("nan")
    inputs.requires_grad_()
    output = run(layer, inputs)
    assert torch.equal(output[:, [0, 2]], expected[:, [0, 2]])
    assert output[:, 1].isnan().all()
    output[:, [0, 2]].sum().backward()
    assert inputs.grad is not None and inputs.grad[:, [0, 2]].isfinite().all()


def test_half_precision_follows_double_precision(kind: str) -> None:
    layer = LAYERS[kind](num_layers=2).double()
    inputs = torch.randn(5, 3, 2, dtype=torch.float64)
    expected = run(layer, inputs)
    (expected_grad,) = torch.autograd.grad(expected.sum(), layer.weight_hh_l0)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.1)):  # bfloat16 keeps 8 bits
        lower = copy.deepcopy(layer).to(dtype)
        output = run(lower, inputs.to(dtype))
        (grad,) = torch.autograd.grad(output.sum(), lower.weight_hh_l0)
        assert output.dtype is grad.dtype is dtype
        torch.testing.assert_close(output.double(), expected, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(grad.double(), expected_grad, rtol=tolerance, atol=3 * tolerance)


@pytest.mark.parametrize("packed", [False, True])
def test_autocast_gives_half_outputs_and_full_gradients(kind: str, packed: bool) -> None:
    layer = LAYERS[kind](num_layers=2, bidirectional=True)
    inputs = torch.randn(5, 3, 2)
    fed = pack_padded_sequence(inputs, [5, 3, 1]) if packed else inputs
    expected, _ = layer(fed)
    with torch.autocast("cpu", torch.bfloat16):
        output, state = layer(fed)
        carried, _ = layer(fed, state)  # the state comes back in half precision
    output, carried, expected = (o.data if packed else o for o in (output, carried, expected))
    assert output.dtype is carried.dtype is torch.bfloat16
    torch.testing.assert_close(output.float(), expected, rtol=0.05, atol=0.05)
    (output.float().sum() + carried.float().sum()).backward()
    assert all(p.grad.dtype is torch.float32 and p.grad.isfinite().all() for p in layer.parameters())


def test_moving_to_another_dtype_and_back_keeps_the_layer_working(kind: str) -> None:
    layer = LAYERS[kind]()
    inputs = torch.randn(5, 3, 2)
    before = run(layer, inputs)
    torch.testing.assert_close(run(layer.double().float(), inputs), before)


def test_a_training_step_changes_what_the_layer_computes(kind: str) -> None:
    layer = LAYERS[kind]()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
    inputs, target = torch.randn(8, 3, 2), torch.randn(8, 3, 4).tanh() * 0.5
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (run(layer, inputs) - target).pow(2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]


def test_repr_says_what_is_not_torchs_default() -> None:
    assert repr(ours.RNN(2, 3, nonlinearity="sigmoid")) == "RNN(2, 3, nonlinearity=sigmoid)"
    assert repr(ours.LSTM(2, 3, num_layers=2)) == "LSTM(2, 3, num_layers=2)"
    assert repr(ours.Recurrent(MinimalGatedUnit, 2, 3)) == "Recurrent(minimal_gated_unit, 2, 3)"


class Classifier(nn.Module):
    """A recurrent layer between two that a compiler likes."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.embed, self.layer, self.read = nn.Linear(3, 2), layer, nn.Linear(4, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        read: Tensor = self.read(torch.relu(self.layer(self.embed(inputs))[0]))
        return read


@pytest.mark.parametrize("kind", ["lstm", "peephole_lstm"])
def test_a_graph_compiled_around_an_explicit_layer_gives_the_same_numbers(kind: str) -> None:
    model = Classifier(LAYERS[kind]())
    compiled = torch.compile(copy.deepcopy(model), backend="aot_eager")
    inputs = torch.randn(5, 3, 3)
    found = []
    for module in (model, compiled):
        output = module(inputs)
        output.pow(2).sum().backward()
        found.append([output, *(parameter.grad for parameter in module.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.slow
def test_a_model_compiled_to_machine_code_gives_the_same_numbers() -> None:
    model = Classifier(LAYERS["gru"](num_layers=2, bidirectional=False))
    compiled = torch.compile(copy.deepcopy(model))
    inputs = torch.randn(5, 3, 3)
    torch.testing.assert_close(model(inputs), compiled(inputs))
