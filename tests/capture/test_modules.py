from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnn_diag import record
from rnn_diag.capture.modules import find_layers, find_recurrent


class ConvLSTMCell(nn.Module):
    """A cell that nobody told us about, made of parts that have the parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Conv1d(2, 8, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.gates(inputs)


class MinGRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))


class LearnerNet(nn.Module):
    """The letters r, n, n in a row are no sign of recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)


class LSTMClassifier(nn.Module):
    """A container is not spoken of beside what it holds."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part
        self.head = nn.Linear(2, 2)


class OwnKernel(nn.LSTM):
    """A complete forward of its own, past torch's."""

    def forward(self, inputs: Tensor) -> Tensor:  # type: ignore[override]
        zeros = inputs.new_zeros(1, inputs.shape[1], self.hidden_size)
        return torch._VF.lstm(inputs, (zeros, zeros), self._flat_weights, True, 1, 0.0, self.training, False, False)[0]


@pytest.mark.parametrize("cell", [ConvLSTMCell, MinGRU])
def test_a_cell_of_the_users_own_is_found_and_said_not_to_be_understood(cell: type[nn.Module]) -> None:
    (row,) = record(LSTMClassifier(cell())).coverage
    assert row[:3] == ("part", cell.__name__, "not followed")
    assert row.reason.startswith(f"found, not understood: {cell.__name__}")
    assert row.hint == "register"
    assert "rnn_diag.register" in row.reason


class GRULinear(nn.Linear):
    """A part with a telling name."""


class DPGRUCell(nn.Module):
    """A cell that is made of such parts."""

    def __init__(self) -> None:
        super().__init__()
        self.ih, self.hh = GRULinear(2, 6), GRULinear(2, 6)


def test_a_cell_is_reported_and_not_its_linear_parts() -> None:
    (row,) = record(LSTMClassifier(DPGRUCell())).coverage
    assert row[:3] == ("part", "DPGRUCell", "not followed")


def test_a_container_of_a_followed_module_is_not_spoken_of() -> None:
    assert [row.layer for row in record(LSTMClassifier(nn.GRU(2, 2))).coverage] == ["part.l0"]


def test_a_name_that_only_sounds_recurrent_to_a_bad_listener_is_not_reported() -> None:
    assert find_recurrent(LearnerNet()) == ([], [])


def test_what_cannot_be_followed_is_named_when_there_is_nothing_else() -> None:
    with pytest.raises(
        ValueError, match=r"no recurrent module that can be followed: part \(ConvLSTMCell\): found, not"
    ):
        record(LSTMClassifier(ConvLSTMCell()), discover=False).start()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_is_not_followed_and_says_what_to_do() -> None:
    (row,) = record(LSTMClassifier(torch.jit.script(nn.LSTM(2, 2)))).coverage
    assert row[:5] == (
        "part",
        "torch.jit.ScriptModule(LSTM)",
        "not followed",
        "TorchScript runs its own copy of the forward; use the module before torch.jit.script or trace",
        "",
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_quantised_layer_is_not_followed_and_says_what_to_do() -> None:
    model = torch.ao.quantization.quantize_dynamic(LSTMClassifier(nn.LSTM(2, 2)), {nn.LSTM})
    (row,) = record(model).coverage
    assert row.status == "not followed"
    assert "use the torch.nn module" in row.reason


def test_a_subclass_with_a_complete_forward_of_its_own_is_said_never_to_have_been_seen() -> None:
    model = LSTMClassifier(OwnKernel(2, 2))
    with record(model) as recording:
        model.part(torch.randn(3, 2, 2)).sum().backward()
    (row,) = recording.coverage
    assert row.status == "never ran"
    assert "OwnKernel.forward does not go through LSTM.forward; call super().forward in it" in row.reason
    with pytest.raises(KeyError, match=r"OwnKernel\.forward does not go through"):
        _ = recording["part.l0"]


def test_a_forward_replaced_on_the_module_is_said_never_to_have_been_seen() -> None:
    module = nn.GRU(2, 2)
    kept = module.forward
    module.forward = types.MethodType(lambda self, inputs: kept(inputs), module)
    with record(module) as recording:
        module(torch.randn(3, 2, 2))[0].sum().backward()
    (row,) = recording.coverage
    assert row.status == "never ran"
    assert "`forward` of this very module was replaced" in row.reason


def test_a_forward_replaced_on_the_module_that_goes_through_the_class_is_seen() -> None:
    module = nn.GRU(2, 2)
    module.forward = types.MethodType(lambda self, inputs: nn.GRU.forward(self, inputs), module)
    with record(module) as recording:
        module(torch.randn(3, 2, 2))[0].sum().backward()
    assert recording["l0"].fidelity < 1e-5


def test_modules_made_after_the_recording_are_found_by_the_next_one() -> None:
    model = nn.Sequential(nn.GRU(2, 2))
    assert record(model).names == ["0.l0"]
    model.append(nn.GRU(2, 2))
    assert record(model).names == ["0.l0", "1.l0"]


class Hiding(nn.Module):
    """Two layers, the second of which torch does not know of."""

    def __init__(self, hold: Callable[[nn.Module], Any]) -> None:
        super().__init__()
        self.first, self.layers = nn.LSTM(3, 4), hold(nn.LSTM(4, 4))

    def forward(self, inputs: Tensor) -> Tensor:
        held = list(self.layers.values()) if isinstance(self.layers, dict) else list(self.layers)
        output = self.first(inputs)[0]
        return held[0](output)[0] if held else output


HOLDERS: dict[str, Callable[[nn.Module], Any]] = {"0": lambda m: [m], "top": lambda m: {"top": m}}


@pytest.mark.parametrize("key", HOLDERS)
def test_a_layer_in_a_plain_list_or_dict_is_found_and_followed(key: str) -> None:
    model = Hiding(HOLDERS[key])
    with record(model) as recording:
        model(torch.randn(5, 2, 3)).sum().backward()
    assert recording.names == ["first.l0", f"layers.{key}.l0"]
    assert [one.hint for one in recording.coverage] == ["", "hidden"]
    assert recording[f"layers.{key}.l0"].fidelity < 1e-5


def test_a_list_of_registered_layers_hides_nothing_and_a_hidden_layer_that_never_ran_is_not_spoken_of() -> None:
    model = Hiding(lambda module: [])
    model.layers = [model.first]
    assert find_layers(model).names == ["first.l0"]
    model.layers, model.others = [], (nn.GRU(3, 4),)
    with record(model) as recording:
        model(torch.randn(5, 2, 3)).sum().backward()
    assert [one.layer for one in recording.coverage] == ["first.l0"]


class ClosedForm(nn.Module):
    """A cell whose name says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Linear(7, 4)

    def forward(self, x: Tensor, hx: Tensor, ts: float = 1.0) -> Tensor:
        return self.lift(torch.cat((x, hx), -1)).tanh()


def test_where_nothing_is_found_what_is_given_a_state_is_named_with_how_to_register_it() -> None:
    model = nn.ModuleDict({"cell": ClosedForm(), "head": nn.Linear(4, 1)})
    (row,) = find_layers(model).not_followed
    assert (row.layer, row.module_type, row.hint) == ("cell", "ClosedForm", "register")
    assert "'hx'" in row.reason and "rnn_diag.register" in row.reason
    with pytest.raises(ValueError, match="cell \\(ClosedForm\\)"), record(model):
        pass
    model["rnn"] = nn.GRU(3, 4)
    assert find_layers(model).not_followed == []
    assert find_layers(nn.Linear(3, 4)).not_followed == []


def test_what_no_pattern_names_is_known_too() -> None:
    model = nn.ModuleDict({"one": nn.GRU(2, 2), "other": nn.LSTM(2, 2, num_layers=2)})
    found = find_layers(model, "one.*")
    assert found.names == ["one.l0"]
    assert [one.names for one in found.all_modules] == [("one.l0",), ("other.l0", "other.l1")]
