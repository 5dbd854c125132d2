"""A model that is run in training mode comes out as it went in."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from rnn_diag.doctor.untouched import gradients_of, left_untouched


class Carries(nn.Module):
    """A model that changes all that running can change."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("seen", torch.zeros(1))
        self.state = None
        self.history = [1]

    def run(self) -> None:
        self.train()
        self.norm(torch.randn(8, 2))
        self.seen = torch.ones(5)  # another shape
        self.register_buffer("later", torch.ones(1))
        self.state, self.new = torch.ones(3), "attribute"
        self.history.append(2)
        random.random()
        np.random.rand()


@pytest.mark.parametrize("fails", [False, True])
def test_modes_buffers_attributes_and_generators_are_put_back_also_after_an_error(fails: bool) -> None:
    model = Carries().eval()
    before = (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy())
    try:
        with left_untouched(model):
            model.run()
            if fails:
                raise KeyError("of the model's own")
    except KeyError:
        assert fails
    assert not model.training and not model.norm.training
    assert model.norm.running_mean.tolist() == [0.0, 0.0] and int(model.norm.num_batches_tracked) == 0
    assert model.seen.tolist() == [0.0] and "later" not in dict(model.named_buffers())
    assert model.state is None and model.history == [1] and not hasattr(model, "new")
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()


def test_weights_and_their_gradients_are_the_blocks_own_business() -> None:
    layer = nn.Linear(2, 1)
    with left_untouched(layer):
        layer(torch.ones(1, 2)).sum().backward()
        layer.weight.data.zero_()
    assert layer.weight.grad is not None and not layer.weight.any()


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradients_are_taken_through_a_checkpoint_of_either_kind_and_stored_nowhere(reentrant: bool) -> None:
    layer, head, inputs = nn.GRU(2, 3), nn.Linear(3, 1), torch.randn(4, 5, 2, requires_grad=True)
    head.weight.grad = torch.ones(1, 3)
    own = [*layer.parameters(), *head.parameters()]

    def loss() -> torch.Tensor:
        output = checkpoint(lambda given: layer(given)[0], inputs, use_reentrant=reentrant)
        return head(output[-1]).square().mean()

    expected = torch.autograd.grad(head(layer(inputs)[0][-1]).square().mean(), own)
    for ours, theirs in zip(gradients_of(loss(), own), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert inputs.grad is None and layer.weight_hh_l0.grad is None and bool((head.weight.grad == 1).all())
