"""A model that is run in training mode comes out as it went in."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from rnn_diag.doctor.untouched import left_untouched


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
