"""Layers pass gradcheck, also for second derivatives, also where the equations have no counterpart in torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_diag import nn as ours
from tests.nn.normalised_lstm import NormalisedLSTM
from tests.nn.pairs import assert_equal, through, torchs_and_ours
from tests.reference.minimal_gated_unit import MinimalGatedUnit

LAYERS: dict[str, tuple[str, dict[str, Any]]] = {
    "rnn_tanh": ("RNN", {}),
    "rnn_relu": ("RNN", {"nonlinearity": "relu"}),
    "rnn_sigmoid": ("RNN", {"nonlinearity": "sigmoid"}),
    "rnn_identity": ("RNN", {"nonlinearity": "identity"}),
    "gru": ("GRU", {}),
    "lstm": ("LSTM", {}),
    "lstm_projected": ("LSTM", {"proj_size": 2}),
    "peephole_lstm": ("PeepholeLSTM", {}),
    "two_blocks": ("Recurrent", {}),
    "normalised": ("Recurrent", {}),
}


def layer(kind: str, **options: Any) -> ours.LSTM:
    name, fixed = LAYERS[kind]
    if name == "Recurrent":
        equations = NormalisedLSTM if kind == "normalised" else MinimalGatedUnit
        own: Any = ours.Recurrent(equations, 2, 3, dtype=torch.float64, **options)
        return own  # type: ignore[no-any-return]
    made: ours.LSTM = getattr(ours, name)(2, 3, dtype=torch.float64, backend="explicit", **fixed, **options)
    return made


def flat_results(module: Any, packed: bool) -> Any:
    """Return a function of all differentiable leaves, for gradcheck."""
    names = [name for name, _ in module.named_parameters()]
    states = 2 if module.equations.has_cell else 1

    def run(inputs: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
        hx = leaves[:states] if states == 2 else leaves[0]
        fed = pack_padded_sequence(inputs, [3, 1]) if packed else inputs
        weights = dict(zip(names, leaves[states:], strict=True))
        output, final = torch.func.functional_call(module, weights, (fed, hx))
        final = final if isinstance(final, tuple) else (final,)
        return (output.data if packed else output), *final

    return run


def leaves(module: Any) -> tuple[Tensor, ...]:
    layers = module.num_layers * (2 if module.bidirectional else 1)
    sizes = [module.proj_size or 3, 3][: 2 if module.equations.has_cell else 1]
    drawn = [torch.randn(3, 2, 2), *(torch.randn(layers, 2, size) for size in sizes)]
    return *(leaf.double().requires_grad_() for leaf in drawn), *module.parameters()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_first_and_second_derivatives_pass_gradcheck(kind: str, packed: bool) -> None:
    module = layer(kind)
    assert torch.autograd.gradcheck(flat_results(module, packed), leaves(module), fast_mode=True)
    assert torch.autograd.gradgradcheck(flat_results(module, packed), leaves(module), fast_mode=True)


def test_a_bidirectional_peephole_layer_passes_the_full_gradcheck() -> None:
    module = layer("peephole_lstm", bidirectional=True)
    assert torch.autograd.gradcheck(flat_results(module, False), leaves(module))


@pytest.mark.parametrize("kind", ["rnn_tanh", "gru", "lstm", "lstm_projected"])
def test_a_gradient_penalty_is_torchs(kind: str) -> None:
    found = []
    for module in torchs_and_ours(kind, num_layers=2):
        torch.manual_seed(0)
        inputs = torch.randn(5, 3, 2, dtype=torch.float64).requires_grad_()
        (grad,) = torch.autograd.grad(module(inputs)[0].pow(2).sum(), inputs, create_graph=True)
        found.append(torch.autograd.grad(grad.pow(2).sum(), [inputs, *module.parameters()], allow_unused=True))
    assert_equal(list(found[0]), list(found[1]))


def test_the_gradient_is_the_same_with_and_without_a_graph_for_the_second() -> None:
    module = layer("peephole_lstm")
    inputs = torch.randn(5, 3, 2, dtype=torch.float64)
    plain = torch.autograd.grad(module(inputs)[0].pow(2).sum(), list(module.parameters()))
    again = torch.autograd.grad(module(inputs)[0].pow(2).sum(), list(module.parameters()), create_graph=True)
    assert_equal(list(plain), list(again))


@pytest.mark.parametrize("kind", LAYERS)
def test_frozen_weights_get_no_gradient_and_the_rest_keep_theirs(kind: str) -> None:
    module = layer(kind)
    inputs = torch.randn(5, 3, 2, dtype=torch.float64).requires_grad_()
    every = torch.autograd.grad(module(inputs)[0].sum(), [inputs, module.weight_hh_l0])
    module.weight_ih_l0.requires_grad_(False)
    module.bias_hh_l0.requires_grad_(False)
    module(inputs)[0].sum().backward()
    assert module.weight_ih_l0.grad is None and module.bias_hh_l0.grad is None
    assert_equal(list(every), [inputs.grad, module.weight_hh_l0.grad])


def test_weights_changed_between_forward_and_backward_are_an_error() -> None:
    module = layer("gru")
    output, _ = module(torch.randn(5, 3, 2, dtype=torch.float64))
    with torch.no_grad():
        module.weight_hh_l0.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_outputs_may_be_changed_in_place_without_touching_the_final_state() -> None:
    module = layer("rnn_tanh")
    output, final = module(torch.randn(5, 3, 2, dtype=torch.float64))
    before = final.clone()
    output.detach().zero_()
    assert torch.equal(final, before)


def test_a_graph_may_be_walked_twice() -> None:
    _, explicit = torchs_and_ours("lstm")
    inputs = torch.randn(5, 3, 2, dtype=torch.float64).requires_grad_()
    loss = explicit(inputs)[0].sum()
    first = torch.autograd.grad(loss, inputs, retain_graph=True)
    assert_equal(list(first), list(torch.autograd.grad(loss, inputs)))


def test_carried_states_backpropagate_through_chained_calls_as_torchs() -> None:
    found = []
    for module in torchs_and_ours("lstm", num_layers=2):
        torch.manual_seed(4)
        chunks = torch.randn(3, 5, 3, 2, dtype=torch.float64).requires_grad_()
        state, total = None, torch.zeros((), dtype=torch.float64)
        for chunk in chunks:
            output, state = module(chunk, state)
            total = total + output.pow(2).sum()
        found.append([total, *torch.autograd.grad(total, [chunks, *module.parameters()])])
    assert_equal(*found)


def test_no_grad_and_inference_mode_give_the_same_outputs() -> None:
    torchs, explicit = torchs_and_ours("gru")
    with torch.no_grad():
        a = through_outputs(explicit)
    with torch.inference_mode():
        b = through_outputs(explicit)
    assert torch.equal(a, b)
    assert_equal(through(torchs, "tensor", True), through(explicit, "tensor", True))


def through_outputs(module: Any) -> Tensor:
    output: Tensor = module(torch.ones(5, 3, 2, dtype=torch.float64))[0]
    assert not output.requires_grad
    return output
