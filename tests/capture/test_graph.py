"""Walks of the autograd graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_diag.capture.graph import edge_of, leads_to, tensors_in, watch_edges


def test_a_tensor_off_the_graph_has_no_position_on_it() -> None:
    weight = torch.ones(2, requires_grad=True)
    assert edge_of(None) is None and edge_of(torch.ones(2)) is None and edge_of(weight.detach()) is None
    assert edge_of(weight * 2) is not None
    assert edge_of(weight) == edge_of(weight)


def test_what_one_call_contributes_is_told_apart_from_what_another_does() -> None:
    weight = torch.tensor([3.0], requires_grad=True)
    inputs = torch.tensor([2.0], requires_grad=True)
    seen: list[tuple[str, Tensor]] = []
    first = (weight * inputs).sin()
    handles = watch_edges(
        [first], {"weight": weight}, [inputs, weight], lambda *one: seen.append(one), set(), seen.append
    )
    (first + weight.square()).sum().backward()
    ((name, grad),) = seen
    assert name == "weight"
    torch.testing.assert_close(grad, 2.0 * torch.tensor([6.0]).cos())
    torch.testing.assert_close(weight.grad, grad + 6.0)
    for handle in handles:
        handle.remove()


def test_a_hidden_state_made_of_the_memory_leads_to_it_and_that_of_a_fused_layer_does_not() -> None:
    gate = torch.ones(2, requires_grad=True)
    memory = gate * 2
    assert leads_to(memory.tanh(), memory, [gate])
    assert not leads_to(gate.tanh(), memory, [gate])
    _, (hidden, cell) = nn.LSTM(3, 2)(torch.ones(1, 1, 3))
    assert not leads_to(hidden, cell, [])


def test_tensors_are_found_in_whatever_holds_them() -> None:
    one, packed = torch.ones(1), pack_padded_sequence(torch.ones(2, 1, 1), [2])
    assert len(list(tensors_in([one, (one, {"a": one}), None, "word"]))) == 3
    assert any(found is packed.data for found in tensors_in(packed))


def test_what_fails_to_take_a_gradient_ends_no_backward_pass():
    def fails(*_):
        raise ArithmeticError("broken")

    failed, weight, inputs = [], torch.ones(2, 2, requires_grad=True), torch.ones(2, 2)
    product = inputs @ weight
    watch_edges([product], {"weight": weight}, [inputs, weight], fails, set(), failed.append)
    product.sum().backward()
    assert weight.grad is not None and [type(one) for one in failed] == [ArithmeticError]
