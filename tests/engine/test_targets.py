"""One sweep for the whole loss and for single steps, against one sweep for each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rnn_diag.cells.equations import State
from rnn_diag.engine import targets as module
from rnn_diag.engine.choice import sweep_in_bulk
from rnn_diag.engine.replay import replay_sweep
from rnn_diag.engine.sweep import Sweeper, Swept, sweep
from rnn_diag.engine.targets import Entering, norms_of, sweep_with_targets
from rnn_diag.trace import Trace
from tests.reference.random_layers import random_trace

CELLS = ["rnn", "lstm", "peephole_lstm", "gru"]
LENGTHS = [7, 4, 1]
CHOSEN = torch.tensor([[3, 3, 0], [6, 3, 0], [6, -1, -1], [0, 0, 0], [3, 3, 0]])
"""In no order, some twice, some where a sequence has ended."""


def loss_of(trace: Trace) -> Entering:
    direct, cell = trace.source._entering()
    return Entering(direct, cell, trace.source._last)


def swept(sweeper: Sweeper, trace: Trace, loss: Entering, chosen: Tensor = CHOSEN) -> tuple[Swept, Tensor]:
    with torch.no_grad():
        return sweep_with_targets(sweeper, trace.equations, trace.weights, trace.unrolled, loss, chosen)


def each_alone(trace: Trace, loss: Entering, chosen: Tensor = CHOSEN) -> Tensor:
    norms = []
    with torch.no_grad():
        for target in chosen:
            cell = None if loss.cell is None else torch.where((target == loss.last).unsqueeze(-1), loss.cell, 0.0)
            direct = loss.at(target.unsqueeze(0), 0, len(loss.direct))[:, 0]
            final = None if cell is None else State(torch.zeros_like(direct[0]), cell)
            norms.append(norms_of(sweep(trace.equations, trace.weights, trace.unrolled, direct, final)))
    return torch.stack(norms, dim=2)


def assert_same(found: tuple[Swept, Tensor], trace: Trace, loss: Entering, chosen: Tensor = CHOSEN) -> None:
    whole, norms = found
    torch.testing.assert_close(norms, each_alone(trace, loss, chosen), rtol=1e-11, atol=1e-15)
    for name in ("hidden_grad", "hidden_grad_recurrent", "cell_grad", "projected_grad", "recurrent_grad"):
        torch.testing.assert_close(getattr(whole, name), getattr(trace.swept, name), rtol=1e-11, atol=1e-15)
    for one, other in zip(whole.initial, trace.swept.initial, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("at_once", [module.AT_ONCE, 1])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("sweeper", [sweep, sweep_in_bulk])
@pytest.mark.parametrize("cell", CELLS)
def test_each_target_sends_what_it_sends_alone(
    cell: str, sweeper: Any, reverse: bool, at_once: int, monkeypatch: Any
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    trace = random_trace(cell, LENGTHS, reverse=reverse, final_cell_grad="lstm" in cell)
    loss = loss_of(trace)
    assert_same(swept(sweeper, trace, loss), trace, loss)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_kernel_once_more_runs_over_all_steps(cell: str) -> None:
    trace = random_trace(cell, LENGTHS, final_cell_grad="lstm" in cell)
    loss = loss_of(trace)
    assert_same(swept(replay_sweep, trace, loss), trace, loss)


def counting(rows: list[tuple[int, ...]]) -> Sweeper:
    def counted(*given: Any) -> Swept:
        rows.append(tuple(given[3].shape[:-2]))
        return sweep(*given)

    return counted


def test_a_target_is_carried_from_its_own_step_on() -> None:
    trace, rows = random_trace("lstm", [8, 8]), list[tuple[int, ...]]()
    swept(counting(rows), trace, loss_of(trace), torch.tensor([[1, 2], [6, 6]]))
    assert rows == [(1, 1), (4, 2), (3, 3)]  # steps, and gradients that are carried over them


def test_where_no_loss_enters_nothing_is_carried() -> None:
    trace, rows = random_trace("gru", [8, 8]), list[tuple[int, ...]]()
    loss = loss_of(trace)
    loss.direct[5] = 0.0
    _, norms = swept(counting(rows), trace, loss, torch.tensor([[5, 5], [2, 2]]))
    assert rows == [(5, 1), (3, 2)]
    assert not norms[:, :, 0].any() and norms[:, :, 1].any()


@pytest.mark.parametrize("final_cell", [False, True])
def test_a_step_at_which_all_of_the_loss_enters_is_the_whole_loss(final_cell: bool) -> None:
    trace, rows = random_trace("lstm", [8, 5], final_cell_grad=final_cell), list[tuple[int, ...]]()
    loss = loss_of(trace)
    loss.direct[:7], loss.direct[7, 1] = 0.0, 0.0
    loss.direct[4, 1] = 1.0
    chosen = torch.tensor([[7, 4], [3, 3]])
    whole, norms = swept(counting(rows), trace, loss, chosen)
    assert rows == [(8,)]
    torch.testing.assert_close(norms, each_alone(trace, loss, chosen), rtol=1e-11, atol=1e-15)
    torch.testing.assert_close(norms[:, :, 0], norms_of(whole))


def test_a_loss_that_is_nan_stays_so() -> None:
    trace = random_trace("rnn", [6])
    loss = loss_of(trace)
    loss.direct[3] = float("nan")
    whole, norms = swept(sweep_in_bulk, trace, loss, torch.tensor([[5], [3]]))
    assert norms[0, :4, 1].isnan().all() and norms[0, :, 0].isfinite().all()
    assert whole.hidden_grad[:4].isnan().all()
