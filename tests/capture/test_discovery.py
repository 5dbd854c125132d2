"""Finding recurrent modules by what they do costs training nothing, and is off where it is not wanted."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.utils.checkpoint import checkpoint

from rnn_diag import record, register
from rnn_diag.capture import watching
from rnn_diag.capture.finding import _findings
from rnn_diag.capture.registry import _registrations
from tests.capture.test_untouched_training import history


class Leaky(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read, self.recur = nn.Linear(6, 5), nn.Linear(5, 5)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return 0.5 * h + 0.5 * (self.read(x) + self.recur(h)).tanh()


class Loop(nn.Module):
    def __init__(self, every: int = 0) -> None:
        super().__init__()
        self.cell, self.drop, self.every = Leaky(), nn.Dropout(0.3), every

    def forward(self, inputs: Tensor) -> Tensor:
        h, outputs = inputs.new_zeros(inputs.shape[1], 5), []
        for t, x in enumerate(inputs):
            if self.every and t % self.every == 0:
                h = h.detach()
            h = self.cell(x, h)
            outputs.append(self.drop(h))
        return torch.stack(outputs)


def run(model: nn.Module, inputs: Tensor) -> Tensor:
    loss = model(inputs).square().mean()
    loss.backward()
    return loss


def test_training_is_the_same_bit_for_bit() -> None:
    torch.manual_seed(1)
    plain = history(Loop(), False)
    torch.manual_seed(1)
    recorded = history(Loop(), True)
    assert all(torch.equal(one, other) for one, other in zip(plain, recorded, strict=True))


def test_the_class_is_as_it_was_after_the_block_and_nothing_is_held() -> None:
    model, original, seen = Loop(), Leaky.forward, []
    model.cell.register_forward_hook(lambda _, args, result: seen.append(weakref.ref(result)))
    model.drop.register_forward_hook(lambda _, args, result: seen.append(weakref.ref(result)))
    with record(model) as recording:
        run(model, torch.randn(7, 4, 6))
    assert Leaky.forward is original and not watching._observers and not watching._originals
    gc.collect()
    assert not any(one() is not None for one in seen)
    assert recording["cell.l0"].hidden_grad.shape == (7, 4, 5)


def test_what_was_found_is_this_models_alone() -> None:
    model, other = Loop(), Loop()
    with record(model):
        run(model, torch.randn(7, 4, 6))
    assert record(model).names == ["cell.l0"] and record(other).names == []
    assert model.cell in _findings and Leaky not in _registrations
    with record(model) as recording:  # from its first call on, and under a pattern of its name
        run(model, torch.randn(2, 4, 6))
    assert recording["cell.l0"].hidden.shape == (2, 4, 5)
    assert record(model, layers="cell.*").names == ["cell.l0"]


def test_it_is_off_where_it_is_not_wanted() -> None:
    model = Loop()
    with pytest.raises(ValueError, match="no recurrent module that can be followed"):
        record(model, discover=False).start()
    with record(model):
        run(model, torch.randn(7, 4, 6))
    assert record(model, discover=False).names == []


def test_what_the_user_registers_comes_first() -> None:
    model = Loop()
    with record(model):
        run(model, torch.randn(7, 4, 6))
    register(Leaky)
    try:
        with record(model) as recording:
            run(model, torch.randn(7, 4, 6))
        assert "found:" not in recording.coverage[0].reason and "cell.l0" in recording
    finally:
        del _registrations[Leaky]


def test_a_detached_state_begins_another_sequence() -> None:
    model = Loop(every=3)
    with record(model) as recording:
        run(model, torch.randn(7, 4, 6))
    assert [len(trace.hidden) for trace in recording.calls("cell.l0")] == [3, 3, 1]


def test_two_sequences_step_by_step_are_two() -> None:
    cell = Leaky()
    a = b = torch.zeros(2, 5)
    with record(nn.ModuleDict({"cell": cell})) as recording:
        for x in torch.randn(5, 2, 6):
            a, b = cell(x, a), cell(x.flip(0), b)
        (a.sum() + b.sum()).backward()
    assert [len(trace.hidden) for trace in recording.calls("cell.l0")] == [5, 5]


def test_off_the_graph_states_are_followed() -> None:
    model = Loop().eval()
    with record(model) as recording, torch.no_grad():
        model(torch.randn(7, 4, 6))
    trace = recording["cell.l0"]
    assert trace.hidden.shape == (7, 4, 5) and not trace.has_gradients


def test_only_some_sequences_are_copied_of_a_found_cell() -> None:
    model, inputs = Loop().double(), torch.randn(7, 9, 6, dtype=torch.float64)
    model.drop.p = 0.0
    with record(model) as everything:
        run(model, inputs)
    with record(model, sequences=3) as recording:
        run(model, inputs)
    some, trace = recording["cell.l0"], everything["cell.l0"]
    assert torch.equal(some.hidden_grad, trace.hidden_grad[:, some.sequences])


@pytest.mark.parametrize("shape", [(4, 5), (1, 5), (5,)])
def test_the_first_state_may_be_one_for_all_sequences(shape: tuple[int, ...]) -> None:
    cell, first = Leaky(), torch.ones(shape, requires_grad=True)
    with record(nn.ModuleDict({"cell": cell})) as recording:
        h = first
        for x in torch.randn(5, 4, 6):
            h = cell(x, h)
        h.sum().backward()
    trace = recording["cell.l0"]
    assert torch.equal(trace.initial_hidden, torch.ones(4, 5)) and trace.hidden_grad.shape == (5, 4, 5)


def test_a_batch_that_shrinks_is_one() -> None:
    cell, h, states = Leaky(), torch.zeros(4, 5), []
    with record(nn.ModuleDict({"cell": cell})) as recording:
        for t, x in enumerate(torch.randn(6, 4, 6)):
            left = 4 - t // 2
            h = cell(x[:left], h[:left])
            states.append(h.sum())
        torch.stack(states).sum().backward()
    assert recording["cell.l0"].lengths.tolist() == [6, 6, 4, 2]


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpointed_loop_is_followed(reentrant: bool) -> None:
    torch.manual_seed(0)
    cell, inputs = Leaky().double(), torch.randn(5, 4, 6, dtype=torch.float64)

    def unrolled(*steps: Tensor) -> Tensor:
        h = torch.zeros(4, 5, dtype=torch.float64)
        for x in steps:
            h = cell(x, h)
        return h

    grads = []
    for run in (unrolled, lambda *steps: checkpoint(unrolled, *steps, use_reentrant=reentrant)):
        with record(nn.ModuleDict({"cell": cell})) as recording:
            run(*inputs.clone().requires_grad_()).square().sum().backward()
        grads.append(recording["cell.l0"].hidden_grad)
        _findings.clear()
    torch.testing.assert_close(grads[0], grads[1], rtol=0, atol=1e-14)


class Stateful(Leaky):
    """Holds its state in itself."""

    def forward(self, x: Tensor) -> Any:  # type: ignore[override]
        self.h = super().forward(x, getattr(self, "h", torch.zeros(2, 5)))
        return self.h


def test_a_cell_that_holds_its_state_in_itself_is_named() -> None:
    cell = Stateful()
    with record(nn.ModuleDict({"cell": cell})) as recording:
        torch.stack([cell(x) for x in torch.randn(5, 2, 6)]).sum().backward()
    (row,) = recording.coverage
    assert row.layer == "cell" and "its state never leaves it" in row.reason


def test_two_calls_are_no_sequence() -> None:
    model = Loop()
    with record(model) as recording:
        run(model, torch.randn(2, 4, 6))
    assert recording.names == []


def test_nothing_is_looked_for_inside_a_compiled_region_and_nothing_is_recompiled() -> None:
    torch._dynamo.reset()
    counters.clear()
    model, inputs = Loop(), torch.randn(4, 3, 6)
    compiled = torch.compile(model, backend="eager")
    compiled(inputs).sum().backward()
    graphs = counters["stats"]["unique_graphs"]
    for whole in (model, compiled, model):
        recording = record(nn.ModuleDict({"all": whole}))
        with pytest.raises(ValueError, match="no recurrent module"), recording:
            compiled(inputs).sum().backward()
        compiled(inputs).sum().backward()
    assert counters["stats"]["unique_graphs"] == graphs
    torch._dynamo.reset()


class Broken(Leaky):
    """Gives what cannot be looked into."""

    def forward(self, x: Tensor, h: Any) -> Any:
        return {"h": super().forward(x, h["h"]), "odd": Odd()}


class Odd(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items here")


def test_an_error_while_looking_ends_no_call_and_is_told() -> None:
    model = nn.ModuleDict({"cell": Broken()})
    with record(model) as recording:
        state: Any = {"h": torch.zeros(2, 5)}
        for x in torch.randn(4, 2, 6):
            state = model["cell"](x, state)
        state["h"].sum().backward()
    (row,) = recording.coverage
    assert row.status == "not followed" and "could not be looked at" in row.reason and "no items here" in row.reason
