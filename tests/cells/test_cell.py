"""Cell modules are torch's: the same numbers, parameters, call signature and errors; and steps of their layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnn_diag import cells
from rnn_diag import nn as layers

CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "rnn_tanh": ("RNNCell", {}),
    "rnn_relu": ("RNNCell", {"nonlinearity": "relu"}),
    "gru": ("GRUCell", {}),
    "lstm": ("LSTMCell", {}),
}
OURS: dict[str, tuple[str, dict[str, Any]]] = CELLS | {
    "rnn_sigmoid": ("RNNCell", {"nonlinearity": "sigmoid"}),
    "rnn_identity": ("RNNCell", {"nonlinearity": "identity"}),
    "lstm_projected": ("LSTMCell", {"proj_size": 2}),
    "peephole_lstm": ("PeepholeLSTMCell", {}),
}


def twins(kind: str, **options: Any) -> tuple[nn.Module, nn.Module]:
    name, fixed = CELLS[kind]
    made = []
    for library in (nn, cells):
        torch.manual_seed(1)
        made.append(getattr(library, name)(3, 4, dtype=torch.float64, **fixed, **options))
    return made[0], made[1]


def own(kind: str, **options: Any) -> nn.Module:
    name, fixed = OURS[kind]
    cell: nn.Module = getattr(cells, name)(3, 4, dtype=torch.float64, **fixed, **options)
    return cell


def states(cell: nn.Module, *leading: int) -> Any:
    projected = cell.proj_size or 4
    hidden = torch.randn(*leading, projected, dtype=torch.float64).requires_grad_()
    if not cell.equations.has_cell:
        return hidden
    return hidden, torch.randn(*leading, 4, dtype=torch.float64).requires_grad_()


def as_tuple(state: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", [(5,), ()])
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("kind", CELLS)
def test_states_and_gradients_equal_torchs(kind: str, given: bool, leading: tuple[int, ...], bias: bool) -> None:
    torchs, cell = twins(kind, bias=bias)
    assert [name for name, _ in torchs.named_parameters()] == [name for name, _ in cell.named_parameters()]
    inputs = torch.randn(*leading, 3, dtype=torch.float64).requires_grad_()
    state = states(cell, *leading) if given else None
    leaves = [inputs, *(as_tuple(state) if given else ())]
    found = []
    for module in (torchs, cell):
        after = as_tuple(module(inputs, state))
        loss = sum(((part * part).sum() + part.sum() for part in after), torch.zeros(()))
        found.append([*after, *torch.autograd.grad(loss, [*leaves, *module.parameters()])])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", OURS)
def test_stepping_the_cell_is_running_the_layer(kind: str) -> None:
    name, fixed = OURS[kind]
    layer = getattr(layers, name.removesuffix("Cell"))(3, 4, dtype=torch.float64, backend="auto", **fixed)
    cell = own(kind)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
    inputs = torch.randn(6, 2, 3, dtype=torch.float64)
    output, final = layer(inputs)
    state = None
    for t in range(6):
        state = cell(inputs[t], state)
        torch.testing.assert_close(as_tuple(state)[0], output[t], rtol=1e-12, atol=1e-12)
    for stepped, ran in zip(as_tuple(state), as_tuple(final), strict=True):
        torch.testing.assert_close(stepped, ran[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", OURS)
def test_first_and_second_derivatives_pass_gradcheck(kind: str) -> None:
    cell = own(kind)
    parameters = dict(cell.named_parameters())

    def run(inputs: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        hx = tensors[:count]
        weights = dict(zip(parameters, tensors[count:], strict=True))
        state = hx if cell.equations.has_cell else hx[0]
        return as_tuple(torch.func.functional_call(cell, weights, (inputs, state)))

    given = as_tuple(states(cell, 2))
    count = len(given)
    leaves = (torch.randn(2, 3, dtype=torch.float64).requires_grad_(), *given, *parameters.values())
    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves)


def test_zero_peepholes_make_an_lstm() -> None:
    torchs = nn.LSTMCell(3, 4)
    cell = cells.PeepholeLSTMCell(3, 4)
    cell.load_state_dict(torchs.state_dict() | {name: torch.zeros(4) for name in cell.equations.extra_parameters})
    inputs, state = torch.randn(5, 3), (torch.randn(5, 4), torch.randn(5, 4))
    for a, b in zip(torchs(inputs, state), cell(inputs, state), strict=True):
        torch.testing.assert_close(a, b)


def test_the_output_gate_sees_the_new_memory() -> None:
    cell = cells.PeepholeLSTMCell(1, 1)
    for parameter in cell.parameters():
        parameter.data.zero_()
    cell.weight_co.data.fill_(1.0)
    hidden, memory = cell(torch.zeros(1), (torch.zeros(1), torch.tensor([4.0])))
    assert memory.item() == 2.0  # the forget gate is half open
    assert hidden.item() == pytest.approx((torch.tensor(2.0).sigmoid() * torch.tensor(2.0).tanh()).item())


def test_the_projected_cell_draws_its_weights_in_torchs_range_and_order() -> None:
    torch.manual_seed(0)
    cell = cells.LSTMCell(3, 4, proj_size=2)
    assert {name: tuple(p.shape) for name, p in cell.named_parameters()} == {
        "weight_ih": (16, 3),
        "weight_hh": (16, 2),
        "bias_ih": (16,),
        "bias_hh": (16,),
        "weight_hr": (2, 4),
    }
    assert all(p.abs().max() <= 0.5 and p.abs().max() > 0.3 for p in cell.parameters())


MISTAKES: dict[str, tuple[Any, ...]] = {
    "input with three axes": (torch.zeros(2, 2, 3), None),
    "input with no axis": (torch.zeros(()), None),
    "too few features": (torch.zeros(2, 2), None),
    "too few features in one sequence": (torch.zeros(2), None),
    "wrong dtype": (torch.zeros(2, 3).double(), None),
    "state of another batch": (torch.zeros(2, 3), (3, 4)),
    "state of other units": (torch.zeros(2, 3), (2, 5)),
    "state with three axes": (torch.zeros(2, 3), (1, 2, 4)),
    "state of one sequence for a batch": (torch.zeros(2, 3), (4,)),
    "state of a batch for one sequence": (torch.zeros(3), (1, 4)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", ["RNNCell", "GRUCell", "LSTMCell"])
def test_mistakes_raise_torchs_error_in_torchs_words(name: str, mistake: str) -> None:
    inputs, shape = MISTAKES[mistake]
    hx: Any = None
    if shape is not None:
        hx = torch.zeros(shape)
        hx = (hx, hx) if name == "LSTMCell" else hx
    with pytest.raises((ValueError, RuntimeError)) as torchs:
        getattr(nn, name)(3, 4)(inputs, hx)
    with pytest.raises(torchs.type) as found:
        getattr(cells, name)(3, 4)(inputs, hx)
    assert str(found.value) == str(torchs.value)


def test_a_wrong_number_of_states_is_named() -> None:
    h = torch.zeros(2, 4)
    with pytest.raises(RuntimeError, match="LSTMCell expects two hidden states, got 3"):
        cells.LSTMCell(3, 4)(torch.zeros(2, 3), (h, h, h))
    with pytest.raises(TypeError, match="expected hx to be a tuple of Tensors, not Tensor"):
        cells.LSTMCell(3, 4)(torch.zeros(2, 3), h)


def test_wrong_constructor_arguments_name_the_choices() -> None:
    with pytest.raises(ValueError, match="nonlinearity='elu'; choices: tanh, relu, sigmoid, identity"):
        cells.RNNCell(3, 4, nonlinearity="elu")
    with pytest.raises(ValueError, match="proj_size=4; expected 0"):
        cells.LSTMCell(3, 4, proj_size=4)


@pytest.mark.parametrize("kind", OURS)
def test_half_precision_and_autocast_give_finite_states(kind: str) -> None:
    cell = own(kind).to(torch.bfloat16)
    assert as_tuple(cell(torch.randn(2, 3, dtype=torch.bfloat16)))[0].dtype is torch.bfloat16
    cell = cell.float()
    with torch.autocast("cpu", torch.bfloat16):
        state = None
        for _ in range(3):
            state = cell(torch.randn(2, 3), state)
    hidden = as_tuple(state)[0]
    assert hidden.isfinite().all()
    hidden.float().sum().backward()
    assert all(p.grad is not None and p.grad.dtype is torch.float32 for p in cell.parameters())
