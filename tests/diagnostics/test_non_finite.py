from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from rnn_diag import Trace, record
from rnn_diag.diagnostics.non_finite import NonFinite, _are_finite, _sums, first_non_finite, first_non_finite_of
from rnn_diag.testing.known import linear_trace
from tests.reference.random_layers import CELLS, random_trace

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_nothing_is_found_where_everything_is_finite(cell: str, reverse: bool) -> None:
    assert first_non_finite(random_trace(cell, [5, 3], reverse=reverse)) is None


@pytest.mark.parametrize("cell", CELLS)
def test_an_input_is_found_with_step_sequence_and_unit(cell: str) -> None:
    trace = random_trace(cell, [5, 5, 5])
    trace.inputs[3, 2, 1] = -INF
    assert first_non_finite(trace) == NonFinite("l0", "input", None, 3, 2, 1, -INF)


def test_of_two_steps_the_one_read_first_is_found() -> None:
    for reverse, step in ((False, 1), (True, 3)):
        trace = random_trace("gru", [5, 5], reverse=reverse)
        trace.inputs[1, 0, 0] = trace.inputs[3, 1, 1] = NAN
        found = first_non_finite(trace)
        assert found is not None
        assert (found.what, found.step) == ("input", step)


def test_reverse_reading_starts_at_each_sequences_own_end() -> None:
    trace = random_trace("rnn", [6, 3], reverse=True)
    trace.inputs[4, 0, 0] = trace.inputs[2, 1, 0] = NAN  # the second sequence's step 2 is the first one that it reads
    found = first_non_finite(trace)
    assert found is not None
    assert (found.step, found.sequence) == (2, 1)


def test_padding_does_not_count() -> None:
    trace = random_trace("lstm", [5, 2])
    trace.inputs[3, 1] = NAN
    assert first_non_finite(trace) is None


@pytest.mark.parametrize(
    ("cell", "row", "gate"), [("lstm", 4, "forget"), ("gru", 7, "candidate"), ("rnn", 1, "hidden")]
)
def test_a_weight_is_found_with_its_block_and_row(cell: str, row: int, gate: str) -> None:
    trace = random_trace(cell, [4])
    trace.weights.weight_hh[row, 2] = INF
    assert first_non_finite(trace) == NonFinite("l0", "weight_hh", gate, None, None, row % 3, INF)


def test_a_peephole_is_found_by_its_unit() -> None:
    trace = random_trace("peephole_lstm", [4])
    trace.weights.extra["weight_ci"][2] = NAN
    found = first_non_finite(trace)
    assert found is not None
    assert (found.what, found.gate, found.unit) == ("weight_ci", None, 2)


def test_an_initial_state_is_found_before_any_step() -> None:
    trace = random_trace("lstm", [4, 4])
    trace.initial_cell[1, 2] = NAN
    found = first_non_finite(trace)
    assert found is not None
    assert (found.what, found.step, found.sequence, found.unit) == ("initial cell", None, 1, 2)


def test_a_product_that_overflows_is_found_at_its_preactivation() -> None:
    trace = random_trace("lstm", [4, 4])
    trace.weights.weight_ih[3:6] = 1e300  # the rows of the forget gate
    trace.inputs[2, 1] = 1e300
    found = first_non_finite(trace)
    assert found is not None
    assert (found.what, found.gate, found.step, found.sequence) == ("preactivation", "forget", 2, 1)


def test_a_gradient_is_found_where_it_came_in_from_the_end() -> None:
    def burst(like: Tensor) -> Tensor:
        grads = torch.randn_like(like)
        grads[3, 1, 0] = INF
        return grads

    found = first_non_finite(random_trace("gru", [6, 6], grads=burst))
    assert found == NonFinite("l0", "hidden_grad", None, 3, 1, 0, INF)


def test_what_is_said_can_be_read() -> None:
    found = NonFinite("encoder.l1", "preactivation", "forget", 3, 5, 2, NAN)
    assert str(found) == "encoder.l1: preactivation 'forget' at step 3 of sequence 5, unit 2, is nan"
    assert str(NonFinite("l0", "weight_hh", "reset", None, None, 2, INF)) == "l0: weight_hh 'reset', unit 2, is inf"


class Two(nn.Module):
    """The layer that runs first is defined last."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.LSTM(4, 4)
        self.encoder = nn.GRU(3, 4, num_layers=2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.decoder(self.encoder(inputs)[0])[0]


def recorded(model: nn.Module, inputs: Tensor, loss_scale: float = 1.0) -> object:
    with record(model) as recording:
        (model(inputs).sum() * loss_scale).backward()
    return recording


def test_the_layer_that_ran_first_is_named() -> None:
    inputs = torch.randn(5, 3, 3)
    inputs[2, 1, 0] = NAN
    found = first_non_finite_of(recorded(Two(), inputs))
    assert found is not None
    assert str(found) == "encoder.l0: input at step 2 of sequence 1, unit 0, is nan"


def test_a_weight_in_the_middle_is_named_and_not_what_follows_from_it() -> None:
    model = Two()
    model.encoder.weight_hh_l1.data[9, 0] = INF
    found = first_non_finite_of(recorded(model, torch.randn(5, 3, 3)))
    assert found is not None
    assert (found.layer, found.what, found.gate, found.unit) == ("encoder.l1", "weight_hh", "candidate", 1)


def test_a_gradient_is_looked_for_from_the_layer_that_ran_last() -> None:
    found = first_non_finite_of(recorded(Two(), torch.randn(5, 3, 3), INF))
    assert found is not None
    assert (found.layer, found.what, found.step) == ("decoder.l0", "hidden_grad", 4)


def test_nothing_is_found_in_healthy_training() -> None:
    assert first_non_finite_of(recorded(Two(), torch.randn(5, 3, 3))) is None


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_sequence_that_is_not_finite_says_nothing_of_the_others(kind: type[nn.RNNBase]) -> None:
    module = kind(3, 4, num_layers=2, bidirectional=True).double()
    clean = torch.randn(5, 3, 3, dtype=torch.float64)
    spoilt = clean.clone()
    spoilt[1, 1] = NAN
    traces: list[dict[str, Trace]] = [dict(recorded_sum(module, inputs)) for inputs in (clean, spoilt)]
    for name in traces[0]:
        for field in ("hidden", "hidden_grad", "cell", "cell_grad"):
            one, other = (getattr(trace[name], field) for trace in traces)
            if one is not None:
                assert torch.equal(one[:, [0, 2]], other[:, [0, 2]]), field
        assert not bool(traces[1][name].hidden[:, 1].isfinite().all())
        assert traces[1][name].fidelity is None


def recorded_sum(module: nn.RNNBase, inputs: Tensor) -> dict[str, Trace]:
    with record(module) as recording:
        module(inputs)[0].sum().backward()
    return recording


def test_a_cell_in_a_loop_is_looked_at_too() -> None:
    cell, state = nn.LSTMCell(3, 4), None
    with record(cell) as recording:
        for t in range(5):
            state = cell(torch.full((2, 3), NAN if t == 3 else 1.0), state)
        state[0].sum().backward()
    found = first_non_finite_of(recording)
    assert found is not None
    assert (found.what, found.step) == ("input", 3)
    assert math.isnan(found.value)


def test_a_nan_in_an_imaginary_part_is_found_without_a_warning() -> None:
    trace = linear_trace(0.5, steps=3)
    assert _are_finite(_sums([("hidden", None, trace.hidden), ("state", None, torch.ones(2, dtype=torch.complex64))]))
    broken = torch.complex(torch.ones(2), torch.tensor([0.0, math.nan]))
    assert not _are_finite(_sums([("hidden", None, trace.hidden), ("state", None, broken)]))
