"""A user's own cell is followed once it is registered, with equations or without."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnn_diag.nn
from rnn_diag.capture import Recording, record, register, registry
from rnn_diag.capture.registry import Seen
from rnn_diag.cells import AutogradEquations, LSTMEquations, State, Step, Weights


class NormedLSTMCell(nn.Module):
    """A cell that nobody knows: the input product is layer-normalised."""

    def __init__(self, inputs: int = 3, units: int = 4) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(0.3 * torch.randn(4 * units, inputs, dtype=torch.float64))
        self.weight_hh = nn.Parameter(0.3 * torch.randn(4 * units, units, dtype=torch.float64))
        self.norm = nn.LayerNorm(4 * units, dtype=torch.float64)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        i, f, g, o = (self.norm(x @ self.weight_ih.T) + h @ self.weight_hh.T).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class NormedLSTMEquations(AutogradEquations):
    name = "normed_lstm"
    blocks = LSTMEquations.blocks
    has_cell = True

    def __init__(self, module: NormedLSTMCell) -> None:
        self.norm = module.norm

    def forward_step(self, projected: Tensor, recurrent: Tensor, previous: State, weights: Weights) -> Step:
        z = (self.norm(projected) + recurrent).chunk(4, -1)
        i, f, g, o = z[0].sigmoid(), z[1].sigmoid(), z[2].tanh(), z[3].sigmoid()
        c = f * previous.cell + i * g
        return Step(o * c.tanh(), c, (i, f, g, o), z)


@pytest.fixture(autouse=True)
def _forgotten_afterwards() -> Iterator[None]:
    before = dict(registry._registrations)
    yield
    registry._registrations.clear()
    registry._registrations.update(before)


def recorded_loop(cell: nn.Module) -> tuple[Recording, dict[str, Tensor]]:
    """Run six steps under a squared loss; return the recording and autograd's gradient of every tensor."""
    torch.manual_seed(1)
    state = (torch.zeros(2, 4, dtype=torch.float64), torch.zeros(2, 4, dtype=torch.float64))
    kept: dict[str, list[Tensor]] = {"hidden": [], "cell": [], "output": []}
    with record(cell) as recording:
        for x in torch.randn(6, 2, 3, dtype=torch.float64):
            state = cell(x, state)
            for name, tensor in zip(kept, (*state, state[0].clone()), strict=True):
                tensor.retain_grad()
                kept[name].append(tensor)
        torch.stack(kept["output"]).pow(2).sum().backward()
    return recording, {name: torch.stack([tensor.grad for tensor in tensors]) for name, tensors in kept.items()}


def test_an_unregistered_cell_with_a_telling_name_is_reported_with_what_to_do() -> None:
    (row,) = record(nn.ModuleDict({"mine": NormedLSTMCell()})).coverage
    assert row.layer == "mine" and row.status == "not followed"
    assert "NormedLSTMCell" in row.reason and "rnn_diag.register" in row.reason


def test_without_equations_the_total_hidden_gradient_is_known_and_the_gates_are_refused() -> None:
    register(NormedLSTMCell)
    recording, exact = recorded_loop(NormedLSTMCell())
    assert torch.equal(recording["l0"].hidden_grad, exact["hidden"])
    with pytest.raises(RuntimeError, match="without equations, so only states and their total gradients are known"):
        _ = recording["l0"].gates


def test_with_equations_everything_is_autograds() -> None:
    register(NormedLSTMCell, equations=NormedLSTMEquations)
    recording, exact = recorded_loop(NormedLSTMCell())
    trace = recording["l0"]
    torch.testing.assert_close(trace.hidden_grad, exact["hidden"], rtol=0, atol=1e-12)
    torch.testing.assert_close(trace.cell_grad, exact["cell"], rtol=0, atol=1e-12)
    torch.testing.assert_close(trace.hidden_grad_direct, exact["output"], rtol=0, atol=1e-12)
    assert trace.fidelity < 1e-12
    assert list(trace.gates) == ["input", "forget", "candidate", "output"]


def test_a_call_of_another_form_is_read_as_the_user_says() -> None:
    class Odd(nn.Module):
        def forward(self, *, memory: Tensor, symbol: Tensor) -> dict[str, Tensor]:
            return {"memory": 0.5 * memory + symbol}

    register(Odd, read=lambda module, args, kwargs, result: registry.Seen(
        kwargs["symbol"], (kwargs["memory"],), (result["memory"],)))  # fmt: skip
    cell, memory = Odd(), torch.zeros(1, 1, requires_grad=True)
    with record(cell) as recording:
        for _ in range(4):
            memory = cell(memory=memory, symbol=torch.ones(1, 1))["memory"]
        memory.sum().backward()
    assert recording["l0"].hidden_grad.flatten().tolist() == [0.125, 0.25, 0.5, 1.0]


def test_the_class_is_as_it_was_after_the_block() -> None:
    register(NormedLSTMCell)
    forward = NormedLSTMCell.__dict__["forward"]
    recorded_loop(NormedLSTMCell())
    assert NormedLSTMCell.__dict__["forward"] is forward


def test_what_is_no_module_class_is_refused() -> None:
    with pytest.raises(TypeError, match=r"module_type=3; expected a subclass of torch\.nn\.Module"):
        register(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("own", [nn.LSTM, nn.GRUCell, rnn_diag.nn.PeepholeLSTM])
def test_a_class_that_is_followed_as_it_is_cannot_be_registered(own: type[nn.Module]) -> None:
    with pytest.raises(ValueError, match=f"module_type={own.__name__}; expected a class of yours"):
        register(own)


def test_weights_without_equations_are_refused() -> None:
    with pytest.raises(ValueError, match="weights without equations say nothing"):
        register(NormedLSTMCell, weights=lambda module: Weights(module.weight_ih, module.weight_hh))


class WholeLayer(nn.Module):
    """It reads a sequence at once; nothing inside is called for every step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(4))

    def forward(self, inputs: Tensor) -> Tensor:
        states = [torch.zeros(len(inputs), 4)]
        for x in inputs.unbind(1):
            states.append((states[-1] @ self.weight + x).tanh())
        return torch.stack(states[1:], 1)


def test_a_registered_layer_that_reads_a_whole_sequence_is_not_taken_for_a_step() -> None:
    register(WholeLayer)
    layer = WholeLayer()
    with record(layer) as recording, pytest.warns(UserWarning, match="expected one step"):
        layer(torch.ones(2, 5, 4)).sum().backward()
    (row,) = recording.coverage
    assert row.status == "partial"
    assert "is given and gives (2, 5, 4), (2, 5, 4); expected one step, [batch, features]" in row.reason
    assert list(recording) == []


class BoxedCell(nn.Module):
    """Its first state has an axis of layers in front, its later ones have not."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.Linear(4, 4)

    def forward(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        hidden, cell = (part.squeeze(0) for part in state)
        cell = cell + torch.tanh(inputs + self.recurrent(hidden))
        hidden = torch.tanh(cell)
        return hidden, (hidden, cell)


def boxed_loop(cell: nn.Module) -> Recording:
    with record(cell) as recording:
        state = (torch.zeros(1, 2, 4), torch.zeros(1, 2, 4))
        for x in torch.ones(5, 2, 4):
            output, state = cell(x, state)
        output.sum().backward()
    return recording


def test_a_state_that_is_read_as_a_view_of_the_given_one_goes_on() -> None:
    def read(module: nn.Module, args: Any, kwargs: Any, result: Any) -> Seen:
        return Seen(args[0], tuple(part.squeeze(0) for part in args[1]), result[1])

    register(BoxedCell, read=read)
    recording = boxed_loop(BoxedCell())
    assert recording["l0"].hidden_grad.shape == (5, 2, 4)


def test_a_state_that_is_read_as_a_view_of_the_returned_one_is_refused_as_its_gradient_would_not_be_seen() -> None:
    register(BoxedCell, read=lambda module, args, kwargs, result: Seen(args[0], None, (result[0].view(2, 4),)))
    with pytest.warns(UserWarning, match="the very tensor that the call returned"):
        recording = boxed_loop(BoxedCell())
    assert recording.coverage[0].status == "partial"


class ConvLSTMCell(nn.Module):
    def __init__(self, channels: int = 2, hidden: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels + hidden, 4 * hidden, 3, padding=1, dtype=torch.float64)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        i, f, g, o = self.conv(torch.cat((x, h), 1)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class RotatingCell(nn.Module):
    """A diagonal linear recurrence with complex eigenvalues, as state-space models have."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = nn.Parameter(torch.linspace(0.1, 0.5, 4, dtype=torch.float64))
        self.read_in = nn.Linear(3, 4, dtype=torch.float64)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.polar(torch.full_like(self.phase, 0.9), self.phase) * state + self.read_in(x)


class NormalisedCell(nn.Module):
    """A cell with exponential gates: three parts of state by name, one of which is a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Linear(3 + 4, 12, dtype=torch.float64)

    def forward(self, x: Tensor, state: dict[str, Tensor]) -> dict[str, Tensor]:
        i, f, z = self.gates(torch.cat((x, state["h"]), -1)).chunk(3, -1)
        matrix = f.sigmoid().unsqueeze(-1) * state["matrix"] + (i.exp() * z).unsqueeze(-1) * z.unsqueeze(-2)
        n = f.sigmoid() * state["n"] + i.exp()
        return {"h": matrix.sum(-1) / n, "n": n, "matrix": matrix}


def test_states_of_a_convolutional_cell_and_their_gradients_are_autograds() -> None:
    register(ConvLSTMCell)
    cell, inputs = ConvLSTMCell(), torch.randn(4, 2, 2, 5, 5, dtype=torch.float64)
    state, returned = (torch.zeros(2, 3, 5, 5, dtype=torch.float64),) * 2, []
    with record(cell) as recording:
        for x in inputs:
            state = cell(x, state)
            for part in state:
                part.retain_grad()
            returned.append(state)
        state[0].square().sum().backward()
    trace = recording["l0"]
    assert recording.coverage[0].status == "exact" and not trace.has_equations
    assert trace.hidden.shape == (4, 2, 3, 5, 5) and list(trace.states) == ["hidden", "cell"]
    for name, parts in zip(trace.states, zip(*returned, strict=True), strict=True):
        assert torch.equal(trace.states[name], torch.stack([part.detach() for part in parts]))
        assert torch.equal(trace.state_grads[name], torch.stack([part.grad for part in parts]))
    assert torch.equal(trace.hidden_grad, trace.state_grads["hidden"])
    assert torch.equal(trace.cell_grad, trace.state_grads["cell"])


def test_complex_states_are_followed() -> None:
    register(RotatingCell)
    cell, state, returned = RotatingCell(), torch.zeros(2, 4, dtype=torch.complex128), []
    with record(cell, sequences=1) as recording:
        for x in torch.randn(5, 2, 3, dtype=torch.float64):
            state = cell(x, state)
            state.retain_grad()
            returned.append(state)
        state.real.square().sum().backward()
    trace = recording["l0"]
    assert trace.hidden.dtype == torch.complex128
    assert torch.equal(trace.hidden, torch.stack([one.detach() for one in returned])[:, :1])
    assert torch.equal(trace.hidden_grad, torch.stack([one.grad for one in returned])[:, :1])


def test_parts_of_a_state_may_be_any_and_have_names() -> None:
    register(NormalisedCell)
    cell, returned = NormalisedCell(), []
    sizes = {"h": (2, 4), "n": (2, 4), "matrix": (2, 4, 4)}
    state = {name: torch.ones(size, dtype=torch.float64) for name, size in sizes.items()}
    with record(cell) as recording:
        for x in torch.randn(3, 2, 3, dtype=torch.float64):
            state = cell(x, state)
            for part in state.values():
                part.retain_grad()
            returned.append(state)
        state["h"].sum().backward()
    trace = recording["l0"]
    assert list(trace.states) == ["h", "n", "matrix"] and trace.cell is None
    for name in sizes:
        zero = torch.zeros(sizes[name], dtype=torch.float64)
        expected = torch.stack([zero if one[name].grad is None else one[name].grad for one in returned])
        assert torch.equal(trace.state_grads[name], expected)
    with pytest.raises(KeyError, match="no gate, block or state is called 'cell'"):
        _ = trace.state_grads["cell"]
    assert torch.equal(trace.hidden, trace.states["h"])


@pytest.mark.parametrize("shape", [(2, 5, 3), (4, 2, 5, 3)])
def test_a_whole_layer_is_not_taken_for_a_cell_of_many_axes(shape: tuple[int, ...]) -> None:
    class Layer(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.cumsum(1)

    register(Layer)
    with record(Layer()) as recording, pytest.warns(UserWarning, match="expected one step"):
        recording._layers.modules[""].module(torch.randn(shape))
    assert recording.coverage[0].status == "partial"


@pytest.mark.parametrize("batch", [3, 12])
@pytest.mark.parametrize("passes_state", [True, False])
def test_a_cell_registered_with_other_equations_than_its_own_is_found_out(batch: int, passes_state: bool) -> None:
    class Coupled(nn.LSTMCell):
        def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            z = nn.functional.linear(x, self.weight_ih, self.bias_ih)
            i, _, g, o = (z + nn.functional.linear(state[0], self.weight_hh, self.bias_hh)).chunk(4, 1)
            c = (1 - i.sigmoid()) * state[1] + i.sigmoid() * g.tanh()
            return o.sigmoid() * c.tanh(), c

    register(Coupled, equations=LSTMEquations())
    cell, state = Coupled(3, 4).double(), (torch.full((batch, 4), 0.5, dtype=torch.float64),) * 2
    with record(cell, sequences=2) as recording:
        for x in torch.randn(5, batch, 3, dtype=torch.float64):
            new = cell(x, state)
            state = new if passes_state else state
        new[0].sum().backward()
    (row,) = recording.coverage
    assert row.status == "not faithful"
    assert "the equations give other states than the calls returned" in row.reason
