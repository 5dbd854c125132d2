from __future__ import annotations

import copy
import gc
import io
import pickle
import tracemalloc
import weakref

import pytest
import torch
from torch import Tensor, nn

import rnn_diag.cells
import rnn_diag.nn
from rnn_diag import Trace, record
from rnn_diag.capture import watching
from rnn_diag.capture.call_log import CallLog
from rnn_diag.coverage import Status

MODULES = {
    "LSTM": lambda: nn.LSTM(3, 4, 2, dropout=0.2),
    "explicit GRU": lambda: rnn_diag.nn.GRU(3, 4, backend="explicit"),
    "both ways": lambda: nn.GRU(3, 4, 2, bidirectional=True),
}


STOCK = {entrance: entrance[0].__dict__[entrance[1]] for entrance in watching.ENTRANCES}


def run(module: nn.Module, inputs: Tensor) -> Tensor:
    return module(inputs)[0]


def loop(cell: nn.Module, inputs: Tensor) -> Tensor:
    state = None
    for step in inputs:
        state = cell(step, state)
    return state[0] if isinstance(state, tuple) else state


def hooks_of(module: nn.Module) -> int:
    dictionaries = [value for key, value in vars(module).items() if key.endswith("_hooks")]
    on_tensors = [tensor._backward_hooks or {} for tensor in module.parameters()]
    return sum(len(hooks) for hooks in (*dictionaries, *on_tensors))


def assert_classes_are_stock() -> None:
    assert not watching._originals and not watching._observers
    assert {entrance: entrance[0].__dict__[entrance[1]] for entrance in STOCK} == STOCK


def test_classes_are_as_they_were_after_the_block() -> None:
    module = nn.LSTM(3, 4)
    with record(module):
        assert hasattr(nn.LSTM.forward, "__wrapped__")
        run(module, torch.randn(5, 2, 3)).sum().backward()
    assert_classes_are_stock()


@pytest.mark.parametrize("where", ["in the block", "in the module", "in the backward pass"])
def test_nothing_is_left_after_an_exception(where: str) -> None:
    module = nn.LSTM(3, 4)

    def explode(grad: Tensor) -> None:
        raise KeyError("mine")

    with pytest.raises((KeyError, RuntimeError)), record(module):
        output = run(module, torch.randn(5, 2, 7 if where == "in the module" else 3))
        output.register_hook(explode)
        if where == "in the block":
            raise KeyError("mine")
        output.sum().backward()
    assert_classes_are_stock()
    assert hooks_of(module) == 0


@pytest.mark.parametrize("name", MODULES)
def test_no_hook_is_on_the_model_not_even_while_it_is_recorded(name: str) -> None:
    module = MODULES[name]()
    with record(module):
        output = run(module, torch.randn(5, 2, 3))
        assert hooks_of(module) == 0
        output.sum().backward()
    assert hooks_of(module) == 0
    assert not output._backward_hooks


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.filterwarnings("error")
def test_a_model_is_pickled_and_copied_during_and_after_the_block(name: str) -> None:
    module, inputs = MODULES[name](), torch.randn(5, 2, 3)
    with record(module) as recording:
        run(module, inputs).sum().backward()
        during = [pickle.loads(pickle.dumps(module)), copy.deepcopy(module)]
        torch.save(module, io.BytesIO())
        calls = len(recording.calls("l0"))
        run(during[1], inputs)
        assert len(recording.calls("l0")) == calls  # a copy is another model
    for other in (*during, pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        for one, two in zip(module.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(one, two)


def live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())


@pytest.mark.parametrize("kind", ["layers", "cells"])
def test_two_hundred_recorded_steps_hold_on_to_nothing(kind: str) -> None:
    module = nn.LSTM(3, 4, 2, dropout=0.3) if kind == "layers" else nn.LSTMCell(3, 4)
    forward = run if kind == "layers" else loop
    optimizer = torch.optim.Adam(module.parameters())

    def train(steps: int) -> None:
        for _ in range(steps):
            with record(module, sequences=1) as recording:
                forward(module, torch.randn(5, 2, 3)).sum().backward()
            for trace in recording.values():
                _ = trace.hidden_grad, trace.fidelity
            optimizer.step()
            optimizer.zero_grad()

    train(5)
    tensors = live_tensors()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    train(200)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert live_tensors() <= tensors
    assert after - before < 100_000  # a leak of one small tensor a step would be more


@pytest.mark.parametrize("forward", [run, loop])
def test_neither_graph_nor_output_outlives_the_block(forward: object) -> None:
    module = nn.LSTM(3, 4, 2) if forward is run else nn.LSTMCell(3, 4)
    with record(module) as recording:
        inputs = torch.randn(5, 2, 3)
        output = forward(module, inputs)
        output.sum().backward()
    _ = recording["l0"].hidden_grad
    gone = [weakref.ref(output), weakref.ref(inputs)]
    del output, inputs
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


def test_an_output_dropped_inside_the_block_takes_its_graph_with_it() -> None:
    module, embed = nn.GRU(3, 4), nn.Linear(3, 3)
    with record(module):
        inputs = embed(torch.randn(5, 2, 3))
        module(inputs)
        gone = weakref.ref(inputs)
        del inputs
        gc.collect()
        assert gone() is None


def copies_of(trace: Trace) -> list[Trace]:
    return [copy.deepcopy(trace), pickle.loads(pickle.dumps(trace))]


@pytest.mark.parametrize("kind", ["layers", "cells", "chained calls"])
@pytest.mark.parametrize("read_before", [False, True])
def test_a_trace_is_pickled_and_copied_without_the_model(kind: str, read_before: bool) -> None:
    module = nn.LSTMCell(3, 4) if kind == "cells" else nn.LSTM(3, 4, 2, bidirectional=kind == "layers")
    module.big = torch.zeros(1_000_000)  # would be seen in the size
    with record(module) as recording:
        if kind == "cells":
            output = loop(module, torch.randn(5, 2, 3))
        else:
            first, state = module(torch.randn(5, 2, 3))
            output = module(torch.randn(5, 2, 3), state)[0] if kind == "chained calls" else first
        output.pow(2).sum().backward()
    trace = recording["l0"]
    if read_before:
        _ = trace.hidden_grad
    assert len(pickle.dumps(trace)) < 100_000
    for other in copies_of(trace):
        for field in ("hidden", "hidden_grad", "cell_grad", "hidden_grad_direct"):
            assert torch.equal(getattr(other, field), getattr(trace, field)), field
        assert other.fidelity == trace.fidelity
        assert repr(other) == repr(trace)


def test_a_class_that_somebody_else_wrapped_meanwhile_keeps_their_wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    stock, module = nn.GRU.forward, nn.GRU(3, 4)
    with record(module):
        ours = nn.GRU.forward

        def theirs(self: nn.GRU, *args: object) -> object:
            return ours(self, *args)

        nn.GRU.forward = theirs
        run(module, torch.randn(5, 2, 3))
    assert nn.GRU.forward is theirs
    torch.testing.assert_close(run(module, torch.ones(5, 2, 3)), stock(module, torch.ones(5, 2, 3))[0])
    nn.GRU.forward = stock
    assert_classes_are_stock()


@pytest.mark.parametrize("method", ["wants", "replacement", "before", "after", "_read"])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.LSTMCell])
def test_an_error_while_a_call_is_watched_ends_no_call_of_the_models_and_is_told(
    method: str, kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ArithmeticError("broken")

    module, inputs = kind(3, 4), torch.randn(5, 2, 3)
    go = loop if kind is nn.LSTMCell else run
    expected = go(module, inputs)
    monkeypatch.setattr(CallLog, method, fails)
    with pytest.warns(UserWarning, match="a call could not be followed: ArithmeticError") as told, record(module) as r:
        assert torch.equal(go(module, inputs), expected)
    assert len(told) == 1
    assert_classes_are_stock()
    monkeypatch.undo()
    assert "broken" in r.coverage[0].reason


def test_a_replacement_that_fails_leaves_the_call_to_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ArithmeticError("broken")

    module, inputs = nn.LSTM(3, 4), torch.randn(5, 2, 3)
    expected = run(module, inputs)
    monkeypatch.setattr(CallLog, "replacement", lambda self, module: fails)
    with pytest.warns(UserWarning, match="ArithmeticError"), record(module):
        assert torch.equal(run(module, inputs), expected)


def test_an_error_of_the_models_own_call_gets_through_and_nothing_is_left() -> None:
    module = nn.LSTM(3, 4)
    with pytest.raises(RuntimeError, match="size"), record(module):
        run(module, torch.randn(5, 2, 2))
    assert_classes_are_stock()


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("per_sample", [False, True])
def test_calls_inside_a_transform_of_functions_are_named_and_those_outside_are_followed(per_sample: bool) -> None:
    torch.manual_seed(0)
    cell, inputs = nn.GRUCell(3, 4).double(), torch.randn(5, 2, 3, dtype=torch.float64)

    def loss(parameters: dict[str, torch.Tensor], steps: torch.Tensor) -> torch.Tensor:
        state = steps.new_zeros(steps.shape[1], 4)
        for x in steps:
            state = torch.func.functional_call(cell, parameters, (x, state))
        return state.square().sum()

    parameters = dict(cell.named_parameters())
    gradient = torch.func.grad(loss)
    if per_sample:
        of_one, gradient = gradient, torch.func.vmap(lambda p, one: of_one(p, one.unsqueeze(1)), (None, 1))
    expected = gradient(parameters, inputs)
    with record(cell) as recording:
        found = gradient(parameters, inputs)
        loss(parameters, inputs).backward()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    (coverage,) = recording.coverage
    assert coverage.status is Status.PARTIAL and "torch.func" in coverage.reason
    assert len(recording["l0"].hidden) == 5 and recording["l0"].fidelity < 1e-12
