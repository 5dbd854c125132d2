from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnn_diag import record
from rnn_diag.diagnostics.gradient_norms import cell_grad_norms, gradient_profile_from_the_end, hidden_grad_norms
from rnn_diag.diagnostics.horizon import half_life, memory_horizon
from rnn_diag.diagnostics.lagged_gradients import (
    lagged_cell_grad_norms,
    lagged_grad_norms,
    lagged_state_norms,
    loss_enters,
    spread_targets,
    sweep_with_targets,
)
from rnn_diag.diagnostics.numerics.reading_order import from_the_end
from rnn_diag.measurements.influence import Influence
from rnn_diag.testing.known import forgetting_trace, linear_trace
from rnn_diag.trace import Trace
from tests.reference.random_layers import CELLS, autograd_states, random_trace


def test_influence_at_lag_k_is_the_weight_to_the_k() -> None:
    norms = lagged_grad_norms(linear_trace(0.8, steps=40, batch=2), [39])
    expected = 0.8 ** torch.arange(40, dtype=torch.float64)
    torch.testing.assert_close(norms[:, 0, 1], expected, rtol=1e-13, atol=0)


def test_forget_gate_alone_decides_how_far_a_loss_reaches_in_memory() -> None:
    norms = lagged_cell_grad_norms(forgetting_trace(0.98, steps=300), [-1])[:, 0, 0]
    expected = 0.98 ** torch.arange(300, dtype=torch.float64)
    torch.testing.assert_close(norms / norms[0], expected, rtol=1e-12, atol=0)
    assert memory_horizon(norms).item() == math.floor(math.log(0.01) / math.log(0.98))
    assert half_life(norms).item() == pytest.approx(math.log(0.5) / math.log(0.98), rel=1e-12)


def test_a_loss_at_every_step_hides_vanishing_that_lags_show() -> None:
    trace = random_trace("rnn", [60], grads=torch.ones_like)
    total = gradient_profile_from_the_end(trace).mean
    lagged = lagged_grad_norms(trace, [59])[:, 0, 0]
    assert total[40] > 0.1 * total[0]
    assert lagged[40] < 1e-3 * lagged[0]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_lagged_gradients_equal_autograd_from_one_step_alone(cell: str, reverse: bool) -> None:
    trace = random_trace(cell, [5, 3], reverse=reverse)
    targets = [0, 2, 4, -1]
    norms = lagged_grad_norms(trace, targets)
    cell_norms = lagged_cell_grad_norms(trace, targets) if trace.equations.has_cell else None
    for sequence, length in enumerate(trace.lengths.tolist()):
        hiddens, cells = autograd_states(trace, sequence)
        for column, target in enumerate([0, 2, 4, length - 1]):
            if target >= length:
                assert norms[:, column, sequence].isnan().all()
                continue
            position = length - 1 - target if reverse else target
            loss = (hiddens[1 + position] * trace.hidden_grad_direct[target, sequence]).sum()
            expected = grads_of(loss, hiddens[1 : 2 + position])
            torch.testing.assert_close(norms[: position + 1, column, sequence], expected, rtol=1e-10, atol=1e-14)
            assert norms[position + 1 :, column, sequence].isnan().all()
            if cell_norms is not None:
                expected = grads_of(loss, cells[1 : 2 + position])
                found = cell_norms[: position + 1, column, sequence]
                torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-14)


def grads_of(loss: Tensor, states: list[Tensor]) -> Tensor:
    return torch.stack([g.norm() for g in torch.autograd.grad(loss, states, retain_graph=True)]).flip(0)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "peephole_lstm", "projected_lstm"])
def test_a_loss_through_the_final_memory_belongs_to_the_last_step_read(cell: str, reverse: bool) -> None:
    trace = random_trace(cell, [5, 3], reverse=reverse, grads=torch.zeros_like, final_cell_grad=True)
    target = [0] if reverse else [-1]
    for lagged, total in (
        (lagged_grad_norms(trace, target), hidden_grad_norms(trace)),
        (lagged_cell_grad_norms(trace, target), cell_grad_norms(trace)),
    ):
        torch.testing.assert_close(lagged[:, 0], from_the_end(trace, total), rtol=1e-10, atol=1e-14, equal_nan=True)


def test_lagged_parts_of_a_linear_layer_add_up_to_the_total_gradient() -> None:
    trace = linear_trace(0.5, steps=6)
    assert trace.hidden_grad[0].item() == lagged_grad_norms(trace, range(6))[5, 5, 0].item()


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_state_norms_equal_the_jacobian_that_autograd_forms(cell: str, reverse: bool) -> None:
    trace = random_trace(cell, [4, 2], grads=None, reverse=reverse)
    norms = lagged_state_norms(trace, [0] if reverse else [-1])
    for sequence, length in enumerate(trace.lengths.tolist()):
        hiddens, _ = autograd_states(trace, sequence)
        for lag in range(length):
            rows = [torch.autograd.grad(unit, hiddens[length - lag], retain_graph=True)[0] for unit in hiddens[length]]
            expected = torch.stack(rows).norm().item()
            assert norms[lag, 0, sequence].item() == pytest.approx(expected, rel=1e-10)


def test_random_probes_estimate_the_state_norm_and_leave_the_random_state_alone() -> None:
    trace = random_trace("gru", [6], units=20, grads=None)
    before = torch.get_rng_state()
    estimated = lagged_state_norms(trace, [5], probes=200)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(estimated, lagged_state_norms(trace, [5]), rtol=0.1, atol=0)


def test_many_targets_in_several_sweeps_give_the_numbers_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = random_trace("lstm", [7, 4], final_cell_grad=True)
    whole = lagged_cell_grad_norms(trace, range(7))
    monkeypatch.setattr("rnn_diag.diagnostics.lagged_gradients._VALUES_AT_ONCE", 100)
    torch.testing.assert_close(lagged_cell_grad_norms(trace, range(7)), whole, equal_nan=True)


def test_a_nan_at_one_target_leaves_the_others_alone() -> None:
    def with_nan(zeros: Tensor) -> Tensor:
        grads = torch.ones_like(zeros)
        grads[1] = math.nan
        return grads

    norms = lagged_grad_norms(random_trace("rnn", [4], grads=with_nan), [1, 3])
    assert norms[0, 0].isnan().all()
    assert norms[:, 1].isfinite().all()


def test_targets_outside_the_trace_are_refused() -> None:
    with pytest.raises(ValueError, match=r"targets \[5\]; expected steps of a trace of 3"):
        lagged_grad_norms(linear_trace(0.5, steps=3), [5])


@pytest.mark.parametrize(
    ("targets", "kind", "said"),
    [
        ([], ValueError, r"targets are \[\]; expected a list of steps"),
        (-1, ValueError, "targets are -1; expected a list of steps"),
        ([1.5], TypeError, r"targets are \[1.5\]; expected whole numbers"),
    ],
)
def test_targets_that_are_no_list_of_steps_are_refused(targets: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        lagged_grad_norms(linear_trace(0.5, steps=3), targets)


def test_targets_of_each_sequence_are_those_of_the_sequences_alone() -> None:
    trace = random_trace("lstm", [7, 4], grads=torch.ones_like)
    both = lagged_grad_norms(trace, torch.tensor([[5, 3]]))
    torch.testing.assert_close(both[:, 0, 0], lagged_grad_norms(trace, [5])[:, 0, 0], equal_nan=True)
    torch.testing.assert_close(both[:, 0, 1], lagged_grad_norms(trace, [3])[:, 0, 1], equal_nan=True)


def test_targets_of_another_number_of_sequences_are_refused() -> None:
    with pytest.raises(ValueError, match="targets of 3 sequences; expected the same for all, or of each of 2"):
        lagged_grad_norms(linear_trace(0.8, steps=4, batch=2), torch.zeros(1, 3))


def test_hidden_states_and_memory_are_swept_once_for_both() -> None:
    trace, swept = random_trace("lstm", [7, 4], grads=torch.ones_like), []
    for name in ("sweep", "sweep_with_targets"):
        sweep = getattr(trace.source, name)
        setattr(trace.source, name, lambda *arguments, sweep=sweep: (swept.append(1), sweep(*arguments))[1])
    hidden, cell = lagged_grad_norms(trace, [-1, -3]), lagged_cell_grad_norms(trace, [-1, -3])
    again = lagged_grad_norms(trace, [-1, -3])
    assert trace.hidden_grad.any() and len(swept) == 1  # the recorded gradients' and that for all targets
    assert torch.equal(hidden.nan_to_num(), again.nan_to_num())
    assert not torch.equal(hidden.nan_to_num(), cell.nan_to_num())
    lagged_grad_norms(trace, [-2])
    assert len(swept) == 2


def test_spread_targets_are_all_steps_of_a_sequence_that_has_no_more() -> None:
    chosen = spread_targets(random_trace("gru", [8, 2], grads=torch.ones_like), 4)
    assert chosen.T.tolist() == [[7, 5, 3, 0], [1, 0, 7, 7]]
    reverse = spread_targets(random_trace("gru", [8, 2], reverse=True, grads=torch.ones_like), 4)
    assert reverse.T.tolist() == [[0, 2, 4, 7], [0, 1, 7, 7]]


@pytest.mark.parametrize("looped", [False, True])
@pytest.mark.parametrize("through_the_end", [False, True])
def test_targets_are_steps_at_which_a_loss_enters(looped: bool, through_the_end: bool) -> None:
    torch.manual_seed(0)
    steps, read = 12, torch.tensor([2, 7, 11])
    module = nn.LSTMCell(3, 4).double() if looped else nn.LSTM(3, 4).double()
    with record(module) as recording:
        states, state = [], None
        for x in torch.randn(steps, 3, 3, dtype=torch.float64) if looped else ():
            state = module(x, state)
            states.append(state[0])
        output, (_, memory) = (torch.stack(states), state) if looped else module(torch.randn(steps, 3, 3).double())
        memory = memory if looped else memory[0]
        loss = output[read, torch.arange(3)].square().sum() + (memory[0].sum() if through_the_end else 0)
        loss.backward()
    trace = recording["l0"]
    expected = [[2, 11], [7], [11]] if through_the_end else [[2], [7], [11]]
    assert [entering.nonzero().flatten().tolist() for entering in loss_enters(trace).T] == expected
    influence = Influence.of(trace)
    assert sorted(influence.furthest.tolist()) == sorted(float(step) for row in expected for step in row)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_one_sweep_finds_what_two_find(cell: str, reverse: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = random_trace(cell, [6, 4, 1], reverse=reverse, final_cell_grad="lstm" in cell)
    again, targets = copy_of(trace), spread_targets(trace, 3)
    assert trace.swept  # alone, and then every target
    counted: list[int] = []
    monkeypatch.setattr(
        again.source, "_sweeper", lambda *a, sweep=again.source._sweeper: counted.append(len(a[3])) or sweep(*a)
    )
    sweep_with_targets(again, targets)
    for measure in (lagged_grad_norms, *([lagged_cell_grad_norms] if trace.equations.has_cell else [])):
        torch.testing.assert_close(measure(again, targets), measure(trace, targets), rtol=1e-12, atol=0, equal_nan=True)
    for name in ("hidden_grad", "hidden_grad_recurrent", "projected_grad", "recurrent_grad", "hidden_grad_direct"):
        one, other = getattr(again.swept, name), getattr(trace.swept, name)
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(
        list(again.state_grads.values()), list(trace.state_grads.values()), rtol=1e-12, atol=1e-15
    )
    for one, other in zip(again.swept.initial, trace.swept.initial, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)
    assert sum(counted) == 6  # steps, each gone over once


def test_what_was_swept_before_is_not_swept_again() -> None:
    trace = random_trace("lstm", [5])
    swept = trace.swept
    sweep_with_targets(trace, [-1])
    assert trace.swept is swept


def copy_of(trace: Trace) -> Trace:
    """Return the same trace, of which nothing has been computed."""
    return pickle.loads(pickle.dumps(trace))
