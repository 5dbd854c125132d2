from __future__ import annotations

import pytest
import torch

from rnn_diag.cells import RNNEquations, State, Weights
from rnn_diag.diagnostics.gate_drive import DRIVE_SOURCES, gate_drive
from rnn_diag.testing.known import linear_trace
from rnn_diag.trace import Trace
from tests.reference.random_layers import CELLS, mask_of, random_trace


def test_drive_counts_every_source_by_hand() -> None:
    weights = Weights(
        torch.tensor([[2.0]]), torch.tensor([[3.0]]), bias_ih=torch.tensor([-1.0]), bias_hh=torch.tensor([-2.0])
    )
    trace = Trace.of("l0", RNNEquations("identity"), weights, torch.ones(1, 1, 1), State(torch.ones(1, 1)))
    assert dict(zip(DRIVE_SOURCES, gate_drive(trace).magnitudes.flatten().tolist(), strict=True)) == {
        "input": 2.0,
        "recurrent": 3.0,
        "bias": 3.0,
        "peephole": 0.0,
    }


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_drive_terms_add_up_to_the_preactivation(cell: str, reverse: bool) -> None:
    trace = random_trace(cell, [1, 1], reverse=reverse)
    alone = gate_drive(random_trace_of(trace, 0)).magnitudes
    both = gate_drive(trace).magnitudes
    torch.testing.assert_close(both, alone + gate_drive(random_trace_of(trace, 1)).magnitudes)
    # With one step and one sequence each magnitude is one absolute term; some choice of signs gives z.
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 4)
    sums = torch.einsum("cs,bsh->cbh", signs, alone)
    z = torch.stack(list(random_trace_of(trace, 0).preactivations.values()))[:, 0, 0]
    assert (sums - z).abs().amin(0).max() < 1e-12


def random_trace_of(trace: Trace, sequence: int) -> Trace:
    part = slice(sequence, sequence + 1)
    initial = State(*(None if state is None else state[part] for state in trace.unrolled.initial))
    return Trace.of(
        "l0", trace.equations, trace.weights, trace.inputs[:, part], initial, trace.mask[:, part], reverse=trace.reverse
    )


def test_only_peepholes_give_a_peephole_share() -> None:
    peephole = DRIVE_SOURCES.index("peephole")
    assert gate_drive(random_trace("peephole_lstm", [4])).shares[(0, 1, 3), peephole].min() > 0
    assert gate_drive(random_trace("lstm", [4])).shares[:, peephole].abs().max() == 0
    assert gate_drive(random_trace("gru", [4])).shares[:, peephole].abs().max() == 0


def test_padding_drives_nothing() -> None:
    linear = linear_trace(0.5, steps=4, batch=2)
    inputs = torch.full((4, 2, 1), 7.0, dtype=torch.float64)
    inputs[:2, 1] = 0.0
    trace = Trace.of("l0", linear.equations, linear.weights, inputs, State(linear.initial_hidden), mask_of([4, 2]))
    assert gate_drive(trace).magnitudes[0, DRIVE_SOURCES.index("input")].item() == 28.0
