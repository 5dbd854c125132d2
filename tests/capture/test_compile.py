from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

import rnn_diag.nn
from rnn_diag import record
from tests.capture.test_untouched_training import Loop, Stacked, history

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def forget_compiled_graphs() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


class Nested(nn.Module):
    """A recurrent layer between parts that are worth compiling."""

    def __init__(self, kind: type[nn.RNNBase] = nn.LSTM, **options: Any) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
        self.body = Stacked(kind, **options)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.sigmoid(self.body(self.embed(inputs)))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "fused LSTM": Nested,
    "fused GRU with dropout": lambda: Nested(nn.GRU, dropout=0.3),
    "explicit LSTM": lambda: Nested(rnn_diag.nn.LSTM, backend="explicit"),
    "loop over LSTMCell": Loop,
}
LAYERS = {"fused LSTM": "body.rnn.l1", "fused GRU with dropout": "body.rnn.l1", "explicit LSTM": "body.rnn.l1"}


def trained(name: str, backend: str, recorded: bool) -> list[Any]:
    torch._dynamo.reset()
    torch.manual_seed(1)
    model = MODELS[name]()
    return history(model, recorded, run=torch.compile(model, backend=backend))


SLOWER = ("fused GRU with dropout", "explicit LSTM")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOWER)) for name in MODELS])
def test_a_compiled_model_trains_the_same_bit_for_bit(name: str) -> None:
    plain, recorded = trained(name, "aot_eager", False), trained(name, "aot_eager", True)
    assert all(torch.equal(one, other) for one, other in zip(plain, recorded, strict=True))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MODELS)
def test_an_inductor_compiled_model_trains_the_same_bit_for_bit(name: str) -> None:
    plain, recorded = trained(name, "inductor", False), trained(name, "inductor", True)
    assert all(torch.equal(one, other) for one, other in zip(plain, recorded, strict=True))


@pytest.mark.parametrize("compiled_first", [True, False], ids=["compiled before", "compiled while recording"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_in_a_compiled_model_are_seen(name: str, compiled_first: bool) -> None:
    model = MODELS[name]()
    inputs = torch.randn(7, 4, 6)
    compiled = torch.compile(model, backend="eager")
    if compiled_first:
        compiled(inputs).sum().backward()
    with record(model) as recording:
        compiled(inputs).sum().backward()
    assert recording[LAYERS[name]].fidelity < 1e-5
    with record(compiled) as recording:
        compiled(inputs).sum().backward()
    assert recording[LAYERS[name]].fidelity < 1e-5


@pytest.mark.parametrize("how", ["in place", "wrapped"])
def test_a_compiled_submodule_keeps_its_plain_name(how: str) -> None:
    model = Nested()
    if how == "in place":
        model.body.compile(backend="eager")
    else:
        model.body = torch.compile(model.body, backend="eager")
    with record(model) as recording:
        model(torch.randn(7, 4, 6)).sum().backward()
    assert list(recording) == ["body.rnn.l0", "body.rnn.l1"]
    assert recording["body.rnn.l0"].fidelity < 1e-5


def test_recording_recompiles_nothing() -> None:
    model = Nested()
    compiled, inputs = torch.compile(model, backend="eager"), torch.randn(7, 4, 6)
    compiled(inputs).sum().backward()
    graphs = counters["stats"]["unique_graphs"]
    for _ in range(3):
        with record(model):
            compiled(inputs).sum().backward()
        compiled(inputs).sum().backward()
    assert counters["stats"]["unique_graphs"] == graphs


def test_a_cell_inside_a_compiled_region_is_said_not_to_be_followed() -> None:
    compiled = torch.compile(Loop(), backend="eager")
    (row,) = record(compiled).coverage
    assert row[:3] == ("cell", "torch.nn.LSTMCell", "not followed")
    assert "compiled into a larger graph" in row.reason
    assert "record the uncompiled model" in row.reason


def test_a_cell_whose_model_was_compiled_elsewhere_is_said_never_to_have_been_seen() -> None:
    model = Loop()
    compiled = torch.compile(model, backend="eager")
    with record(model) as recording:
        compiled(torch.randn(7, 4, 6)).sum().backward()
    (row,) = recording.coverage
    assert row.status == "never ran"
    assert "compiled by torch.compile" in row.reason
    assert counters["graph_break"] == {}


def test_a_loop_over_a_cell_beside_a_compiled_part_is_followed() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(6, 6)), Loop())
    model[0].compile(backend="eager")
    with record(model) as recording:
        model(torch.randn(7, 4, 6)).sum().backward()
    assert recording["1.cell.l0"].fidelity < 1e-5
