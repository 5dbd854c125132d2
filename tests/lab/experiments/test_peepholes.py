"""The clock of one unit."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.diagnostics import module_trace
from rnn_diag.lab.experiments.peepholes import Peepholes, _clock
from rnn_diag.lab.parts.networks import one_input
from rnn_diag.nn import LSTM, PeepholeLSTM


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


def test_a_short_run_says_what_it_found_and_moves_no_generator() -> None:
    before = torch.random.get_rng_state()
    outcome = Peepholes(period=4, ticks=2, interval=2, networks=4, steps=5).run()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert "fires at steps 3, 7 and is silent between" in outcome.conclusion
    assert len(outcome.tables[0].rows) == 2
