"""The clock of one unit, the networks that learn it side by side, and the gradients they learn by."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rnn_diag.diagnostics import module_trace
from rnn_diag.lab.experiments.peepholes import Peepholes, _clock
from rnn_diag.lab.networks import one_input
from rnn_diag.lab.peephole_reference import backward_errors
from rnn_diag.lab.single_units import SingleUnits
from rnn_diag.nn import LSTM, PeepholeLSTM
from rnn_diag.tasks import Timing

TASK = Timing(interval=2, sequence_length=10, train_size=64, held_out_size=16)


@pytest.mark.parametrize("period", [2, 5, 12])
def test_the_clock_fires_once_per_period_and_only_with_peepholes(period: int) -> None:
    inputs = one_input(3 * period + 1)
    hidden = module_trace(_clock(PeepholeLSTM, period), inputs).hidden.flatten()
    assert (hidden > 0.5).nonzero().flatten().tolist() == [period - 1, 2 * period - 1, 3 * period - 1]
    assert hidden[hidden <= 0.5].abs().max() < 1e-9
    assert module_trace(_clock(LSTM, period), inputs).hidden.abs().max() < 1e-9


def test_the_clock_does_not_start_by_itself() -> None:
    assert module_trace(_clock(PeepholeLSTM, 5), one_input(40, 0.0)).hidden.abs().max() < 1e-9


def test_the_memory_counts_the_steps() -> None:
    cell = module_trace(_clock(PeepholeLSTM, 4), one_input(9)).cell
    assert cell is not None
    assert cell.flatten().tolist() == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.25, 0.5, 0.75, 1.0, 0.25])


@pytest.mark.parametrize("seed", [0, 1])
def test_the_written_backward_pass_is_that_of_autograd_and_of_differences(seed: int) -> None:
    errors = backward_errors(seed)
    assert errors.weights < 1e-12
    assert errors.states < 1e-12
    assert 0.0 < errors.differences < 1e-6


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


def test_a_short_run_says_what_it_found_and_moves_no_generator() -> None:
    before = torch.random.get_rng_state()
    outcome = Peepholes(period=4, ticks=2, interval=2, networks=4, steps=5).run()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert "fires at steps 3, 7 and is silent between" in outcome.conclusion
    assert len(outcome.tables[0].rows) == 2
