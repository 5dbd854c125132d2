from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from rnn_diag import Trace, cells, record

CELLS: dict[str, Callable[[], nn.RNNCellBase]] = {
    "torch LSTMCell": lambda: nn.LSTMCell(3, 4),
    "torch GRUCell": lambda: nn.GRUCell(3, 4),
    "torch RNNCell": lambda: nn.RNNCell(3, 4, nonlinearity="relu"),
    "LSTMCell": lambda: cells.LSTMCell(3, 4),
    "projected LSTMCell": lambda: cells.LSTMCell(3, 4, proj_size=2),
    "PeepholeLSTMCell": lambda: cells.PeepholeLSTMCell(3, 4),
    "GRUCell": lambda: cells.GRUCell(3, 4),
    "RNNCell": lambda: cells.RNNCell(3, 4),
}
STEPS, BATCH = 6, 2


class Loop:
    """Runs a cell over time and keeps every state with its gradient, and every use of a state with its own."""

    def __init__(self, cell: nn.RNNCellBase) -> None:
        self.cell = cell
        self.hidden: list[Tensor] = []
        self.memory: list[Tensor] = []
        self.used: list[Tensor] = []

    def step(self, inputs: Tensor, state: object = None) -> object:
        state = self.cell(inputs, state)
        hidden, *memory = state if isinstance(state, tuple) else (state,)
        self.hidden.append(hidden)
        self.memory += memory
        self.used.append(hidden * 1.0)
        for tensor in (hidden, *memory, self.used[-1]):
            tensor.retain_grad()
        return state

    def assert_seen_as(self, trace: Trace) -> None:
        for ours, theirs in (
            (trace.hidden, self.hidden),
            (trace.hidden_grad, grads(self.hidden)),
            (trace.hidden_grad_direct, grads(self.used)),
            *([(trace.cell, self.memory), (trace.cell_grad, grads(self.memory))] if self.memory else []),
        ):
            torch.testing.assert_close(ours, torch.stack(theirs), rtol=0, atol=1e-14)
        assert trace.fidelity < 1e-13


def grads(tensors: list[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(tensor) if tensor.grad is None else tensor.grad for tensor in tensors]


@pytest.mark.parametrize("name", CELLS)
def test_a_loop_over_time_is_one_trace_with_autograds_gradients(name: str) -> None:
    cell = CELLS[name]().double()
    inputs, loop, state = torch.randn(STEPS, BATCH, 3, dtype=torch.float64), Loop(cell), None
    with record(cell) as recording:
        for t in range(STEPS):
            state = loop.step(inputs[t], state)
        torch.stack(loop.used)[1:5].pow(2).sum().backward()
    loop.assert_seen_as(recording["l0"])
    torch.testing.assert_close(recording["l0"].inputs, inputs)


@pytest.mark.parametrize("name", CELLS)
def test_unbatched_steps_are_a_batch_of_one(name: str) -> None:
    cell, inputs = CELLS[name]().double(), torch.randn(STEPS, 3, dtype=torch.float64)
    traces = []
    for fed in (inputs, inputs.unsqueeze(1)):
        state = None
        with record(cell) as recording:
            for t in range(STEPS):
                state = cell(fed[t], state)
            torch.cat(
                [part.sum().view(1) for part in (state if isinstance(state, tuple) else (state,))]
            ).sum().backward()
        traces.append(recording["l0"])
    unbatched, batched = traces
    assert unbatched.fidelity < 1e-13
    for field in ("hidden", "cell", "hidden_grad", "cell_grad"):
        torch.testing.assert_close(getattr(unbatched, field), getattr(batched, field), rtol=0, atol=1e-15)


def test_interleaved_cells_are_told_apart() -> None:
    model = nn.ModuleDict({"low": nn.LSTMCell(3, 4), "high": nn.GRUCell(4, 5)}).double()
    low, high = Loop(model["low"]), Loop(model["high"])
    inputs, below, above = torch.randn(STEPS, BATCH, 3, dtype=torch.float64), None, None
    with record(model) as recording:
        for t in range(STEPS):
            below = low.step(inputs[t], below)
            above = high.step(low.used[-1], above)
        high.used[-1].sum().backward()
    low.assert_seen_as(recording["low.l0"])
    high.assert_seen_as(recording["high.l0"])


def test_feeding_a_prediction_back_counts_as_direct_gradient() -> None:
    cell, head = nn.GRUCell(3, 4).double(), nn.Linear(4, 3).double()
    loop, fed, state = Loop(cell), torch.zeros(BATCH, 3, dtype=torch.float64), None
    with record(cell) as recording:
        for _ in range(STEPS):
            state = loop.step(fed, state)
            fed = head(loop.used[-1])
        fed.sum().backward()
    loop.assert_seen_as(recording["l0"])


def test_every_sequence_of_a_step_is_a_trace_of_its_own() -> None:
    cell = nn.LSTMCell(3, 4).double()
    loops = [Loop(cell), Loop(cell)]
    with record(cell) as recording:
        for steps, loop in zip((3, 5), loops, strict=True):
            state = None
            for _ in range(steps):
                state = loop.step(torch.randn(BATCH, 3, dtype=torch.float64), state)
        (loops[0].used[-1].sum() + loops[1].used[-1].pow(2).sum()).backward()
    for loop, trace in zip(loops, recording.calls("l0"), strict=True):
        loop.assert_seen_as(trace)


def test_two_sequences_advanced_in_turns_are_told_apart_by_their_states() -> None:
    cell = nn.GRUCell(3, 4).double()
    loops, states = [Loop(cell), Loop(cell)], [None, None]
    with record(cell) as recording:
        for _ in range(4):
            for which in (0, 1):
                states[which] = loops[which].step(torch.randn(BATCH, 3, dtype=torch.float64), states[which])
        (loops[0].used[-1].sum() + loops[1].used[-1].pow(2).sum()).backward()
    for loop, trace in zip(loops, recording.calls("l0"), strict=True):
        loop.assert_seen_as(trace)


@pytest.mark.parametrize("given", ["list", "view"])
def test_a_state_as_list_or_view_goes_on(given: str) -> None:
    cell, state = nn.LSTMCell(3, 4), None
    with record(cell) as recording:
        for _ in range(STEPS):
            state = cell(torch.randn(BATCH, 3), state)
            state = list(state) if given == "list" else tuple(part.unsqueeze(0).squeeze(0) for part in state)
        state[0].sum().backward()
    assert recording["l0"].hidden.shape == (STEPS, BATCH, 4)


def test_detaching_the_state_cuts_the_sequence_there() -> None:
    cell, state = nn.LSTMCell(3, 4).double(), None
    with record(cell) as recording:
        for t in range(STEPS):
            if t == 4:
                state = tuple(part.detach() for part in state)
            state = cell(torch.randn(BATCH, 3, dtype=torch.float64), state)
        state[0].sum().backward()
    before, after = recording.calls("l0")
    assert len(before.hidden) == 4 and len(after.hidden) == 2
    assert not before.has_gradients
    torch.testing.assert_close(after.initial_hidden, before.hidden[-1])
    assert after.fidelity < 1e-13


def test_a_memory_changed_between_steps_is_followed_through_the_change() -> None:
    cell, state = nn.LSTMCell(3, 4).double(), None
    with record(cell) as recording:
        for _ in range(3):
            hidden, memory = cell(torch.randn(BATCH, 3, dtype=torch.float64), state)
            state = hidden, memory * 0.5
        hidden.sum().backward()
    assert len(recording["l0"].hidden) == 3
    assert recording["l0"].fidelity < 1e-13


def test_steps_without_gradients_have_states_and_gates() -> None:
    cell, state = nn.GRUCell(3, 4), None
    with record(cell) as recording, torch.no_grad():
        for _ in range(STEPS):
            state = cell(torch.randn(BATCH, 3), state)
    assert recording["l0"].gates["update"].shape == (STEPS, BATCH, 4)
    with pytest.raises(RuntimeError, match="no backward pass reached it"):
        _ = recording["l0"].hidden_grad


def test_a_subset_of_the_sequences_is_followed() -> None:
    cell, inputs = nn.LSTMCell(3, 4).double(), torch.randn(STEPS, 6, 3, dtype=torch.float64)
    traces = []
    for sequences in (None, 2):
        state = None
        with record(cell, sequences=sequences) as recording:
            for t in range(STEPS):
                state = cell(inputs[t], state)
            state[0].sum().backward()
        traces.append(recording["l0"])
    assert traces[1].sequences.tolist() == [0, 4]
    torch.testing.assert_close(traces[1].cell_grad, traces[0].cell_grad[:, [0, 4]], rtol=0, atol=0)
