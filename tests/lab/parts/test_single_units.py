"""Networks of one unit that learn side by side."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnn_diag.lab.parts.single_units import SingleUnits
from rnn_diag.nn import LSTM
from rnn_diag.tasks import Timing

TASK = Timing(interval=2, sequence_length=10, train_size=64, held_out_size=16)


def test_networks_side_by_side_learn_what_each_learns_alone() -> None:
    together = SingleUnits(LSTM, 3, seed=0)
    alone = nn.LSTM(1, 1)
    for name, parameter in alone.named_parameters():
        whole = together.layer.get_parameter(name).detach()
        rows = whole.view(4, 3, -1)[:, 1]
        parameter.data.copy_((rows[:, 1:2] if name.startswith("weight_hh") else rows).view_as(parameter))
    scale, shift = nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1))
    parameters = [*alone.parameters(), scale, shift]
    optimizer = torch.optim.Adam(parameters, lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    generator, whole = torch.Generator().manual_seed(5), TASK.sequences("train").whole
    for _ in range(20):
        rows = torch.randint(64, (TASK.batch_size,), generator=generator)
        optimizer.zero_grad()
        (
            scale * alone(whole.inputs[rows].transpose(0, 1))[0] + shift - whole.targets[rows].transpose(0, 1)
        ).square().mean().backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
    together.learn(TASK, 20, 0.05, seed=5)
    expected = (scale * alone(whole.inputs.transpose(0, 1))[0] + shift - whole.targets.transpose(0, 1)).square().mean()
    assert together.errors(whole.inputs, whole.targets)[1].item() == pytest.approx(expected.item(), rel=1e-3)
