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
