"""Whose parameters are whose, and what becomes of them."""

from __future__ import annotations

import torch
from torch import nn

from rnn_diag.doctor.parameters import frozen_layers, in_no_optimizer, parameters_of_layers, times_changed


def network() -> nn.Module:
    return nn.ModuleDict({"rnn": nn.GRU(2, 3, num_layers=2, bidirectional=True), "head": nn.Linear(6, 1)})


def test_every_layer_and_direction_has_its_own_parameters() -> None:
    model = network()
    layers = parameters_of_layers(model)
    assert list(layers) == ["rnn.l0", "rnn.l0_reverse", "rnn.l1", "rnn.l1_reverse"]
    assert layers["rnn.l1_reverse"][1] is model["rnn"].weight_hh_l1_reverse
    everything = [one for own in layers.values() for one in own]
    assert {id(one) for one in everything} == {id(one) for one in model["rnn"].parameters()}
    assert len(everything) == len(list(model["rnn"].parameters()))


def test_a_layer_is_frozen_once_none_of_its_parameters_needs_a_gradient() -> None:
    model = network()
    model["rnn"].weight_hh_l0.requires_grad_(False)
    assert frozen_layers(parameters_of_layers(model)) == frozenset()
    for name, one in model["rnn"].named_parameters():
        one.requires_grad_(not name.endswith("_l0"))
    assert frozen_layers(parameters_of_layers(model)) == {"rnn.l0"}


def test_a_layer_that_learns_and_is_in_no_optimiser_is_named_and_a_frozen_one_is_not() -> None:
    model = network()
    optimised = [one for name, one in model.named_parameters() if not name.endswith("_l1")]
    assert in_no_optimizer(parameters_of_layers(model), model, optimised) == {"rnn.l1"}
    for one in parameters_of_layers(model)["rnn.l1"]:
        one.requires_grad_(False)
    assert in_no_optimizer(parameters_of_layers(model), model, optimised) == frozenset()


def test_of_parameters_that_an_optimiser_holds_flattened_nothing_is_said() -> None:
    model = network()
    assert (
        in_no_optimizer(
            parameters_of_layers(model), model, [torch.cat([one.detach().flatten() for one in model.parameters()])]
        )
        == frozenset()
    )


def test_an_optimisers_steps_are_counted() -> None:
    model = network()
    before = times_changed(parameters_of_layers(model))
    optimiser = torch.optim.SGD(parameters_of_layers(model)["rnn.l0"], lr=0.1)
    model["rnn"](torch.randn(5, 2, 2))[0].sum().backward()
    optimiser.step()
    after = times_changed(parameters_of_layers(model))
    assert [name for name in after if after[name] > before[name]] == ["rnn.l0"]


def test_a_layer_in_a_plain_list_is_in_no_optimizer_that_is_given_the_models_parameters() -> None:
    some = nn.Sequential(nn.LSTM(2, 3), nn.Linear(3, 1))
    some.hidden = [nn.GRU(2, 3)]
    assert in_no_optimizer(parameters_of_layers(some), some, some.parameters()) == {"hidden.0.l0"}
    assert (
        in_no_optimizer(parameters_of_layers(some), some, [*some.parameters(), *some.hidden[0].parameters()])
        == frozenset()
    )
