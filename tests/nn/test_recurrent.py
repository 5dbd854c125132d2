"""A layer of any equations is what torch's layer would be if torch had these equations."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_diag import nn as ours
from rnn_diag import record
from rnn_diag.cells import Equations, Gate, GRUEquations, LSTMEquations, PeepholeLSTMEquations, RNNEquations
from rnn_diag.diagnostics import gate_saturation, lyapunov_exponents
from rnn_diag.doctor import examine
from tests.capture.reference_traces import Case, errors_of
from tests.nn.normalised_lstm import NormalisedLSTM
from tests.nn.pairs import KINDS, LAYOUTS, assert_equal, through
from tests.reference.minimal_gated_unit import MinimalGatedUnit
from tests.reference.random_layers import EQUATIONS

TORCHS: dict[str, tuple[Equations, Any]] = {
    "rnn_tanh": (RNNEquations(), nn.RNN),
    "gru": (GRUEquations(), nn.GRU),
    "lstm": (LSTMEquations(), nn.LSTM),
    "lstm_projected": (LSTMEquations(), nn.LSTM),
}


def pair(kind: str, **options: Any) -> tuple[nn.Module, nn.Module]:
    """Return torch's layer and a `Recurrent` with the same equations, drawn from the same seed, in float64."""
    equations, torchs = TORCHS[kind]
    sizes, fixed = (2, 4), {"dtype": torch.float64, **KINDS[kind][1], **options}
    torch.manual_seed(1)
    theirs = torchs(*sizes, **fixed)
    torch.manual_seed(1)
    return theirs, ours.Recurrent(equations, *sizes, **fixed)


@pytest.mark.parametrize("kind", TORCHS)
def test_weights_are_named_shaped_and_drawn_as_torchs(kind: str) -> None:
    theirs, layer = pair(kind, num_layers=2, bidirectional=True)
    random = torch.get_rng_state()
    pair(kind, num_layers=2, bidirectional=True)
    assert torch.equal(random, torch.get_rng_state())
    assert list(theirs.state_dict()) == list(layer.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(theirs.parameters(), layer.parameters(), strict=True))
    layer.load_state_dict(theirs.state_dict())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("kind", TORCHS)
def test_outputs_states_and_gradients_are_torchs(kind: str, with_state: bool, layout: str) -> None:
    for options in ({}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True, "bias": False}):
        theirs, layer = pair(kind, **options)
        assert_equal(through(theirs, layout, with_state), through(layer, layout, with_state))


def test_dropout_between_layers_is_torchs() -> None:
    found = []
    for layer in pair("gru", num_layers=3, dropout=0.5):
        torch.manual_seed(0)
        found.append(layer(torch.randn(5, 3, 2, dtype=torch.float64))[0])
    torch.testing.assert_close(*found)


def test_a_peephole_layer_is_the_one_with_a_name() -> None:
    layers = []
    for make in (ours.PeepholeLSTM, lambda *sizes, **options: ours.Recurrent(PeepholeLSTMEquations, *sizes, **options)):
        torch.manual_seed(0)
        layers.append(make(2, 4, num_layers=2, bidirectional=True))
    assert list(layers[0].state_dict()) == list(layers[1].state_dict())
    assert all(torch.equal(a, b) for a, b in zip(*(layer.parameters() for layer in layers), strict=True))
    inputs = torch.randn(5, 3, 2)
    assert torch.equal(layers[0](inputs)[0], layers[1](inputs)[0])


def test_two_blocks_get_two_blocks_of_rows() -> None:
    layer = ours.Recurrent(MinimalGatedUnit, 3, 4, num_layers=2, bidirectional=True)
    shapes = {name: tuple(value.shape) for name, value in layer.named_parameters()}
    assert shapes["weight_ih_l0"] == (8, 3) and shapes["weight_ih_l1_reverse"] == (8, 8)
    assert shapes["weight_hh_l0"] == (8, 4) and shapes["bias_hh_l1"] == (8,)
    bound = 1 / 2
    assert all(value.abs().max() <= bound and value.any() for value in layer.parameters())
    output, final = layer(torch.randn(5, 2, 3))
    assert output.shape == (5, 2, 8) and final.shape == (4, 2, 4)


EVERY_FORM = [
    Case("MinimalGatedUnit", layers, both, layout=layout, given_state=given, batch_first=both != given)
    for layers, both, layout, given in itertools.product(
        (1, 2), (False, True), ("tensor", "unbatched", "packed", "packed unsorted"), (False, True)
    )
]


EVERY_RECURRENCE = [
    Case(kind, layers, both, layout=layout, given_state=given, bias=layers == 2)
    for kind in EQUATIONS
    if not kind.startswith("projected")
    for layers, both, layout, given in ((1, False, "tensor", True), (2, True, "packed unsorted", False))
]


@pytest.mark.parametrize("case", EVERY_RECURRENCE, ids=str)
def test_what_is_recorded_of_any_recurrence_equals_autograd_on_an_unrolled_network(case: Case) -> None:
    errors = errors_of(case)
    assert max(errors.values()) < 1e-10, errors


@pytest.mark.parametrize("case", EVERY_FORM, ids=str)
def test_what_is_recorded_of_two_blocks_equals_autograd_on_an_unrolled_network(case: Case) -> None:
    errors = errors_of(case)
    assert max(errors.values()) < 1e-10, errors


@pytest.mark.parametrize("equations", [MinimalGatedUnit, NormalisedLSTM])
def test_training_gives_the_same_bits_recorded_or_not(equations: type[Equations]) -> None:
    torch.manual_seed(0)
    plain = ours.Recurrent(equations, 2, 4, num_layers=2, bidirectional=True, dropout=0.2)
    recorded = copy.deepcopy(plain)
    inputs = torch.randn(6, 3, 2)
    fed = pack_padded_sequence(inputs, [6, 4, 1])
    for layer in (plain, recorded):
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
        torch.manual_seed(1)
        for _ in range(5):
            optimizer.zero_grad()
            if layer is recorded:
                with record(layer) as recording:
                    layer(fed)[0].data.pow(2).sum().backward()
                assert len(recording) == 4 and all(trace.hidden_grad.any() for trace in recording.values())
            else:
                layer(fed)[0].data.pow(2).sum().backward()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), recorded.parameters(), strict=True))


def test_parameters_beyond_torchs_are_initialised_trained_and_recorded() -> None:
    layer = ours.Recurrent(NormalisedLSTM, 2, 4, num_layers=2, dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]
    assert names[-4:] == ["gain_l0", "cell_gain_l0", "gain_l1", "cell_gain_l1"]
    assert torch.equal(layer.gain_l1, torch.ones(16, dtype=torch.float64))
    layer.gain_l0.data.fill_(0.5)
    layer.reset_parameters()
    assert torch.equal(layer.gain_l0, torch.ones(16, dtype=torch.float64))
    with record(layer) as recording:
        layer(torch.randn(7, 3, 2, dtype=torch.float64))[0].pow(2).sum().backward()
    assert layer.gain_l0.grad.any() and layer.cell_gain_l1.grad.any()
    for name in ("l0", "l1"):
        assert recording[name].fidelity is not None and recording[name].fidelity < 1e-12
    exponents = lyapunov_exponents(recording["l0"], k=2)
    assert exponents.isfinite().all()


def test_an_instance_a_class_and_a_path_are_the_same() -> None:
    path = "tests.reference.minimal_gated_unit.MinimalGatedUnit"
    for given in (MinimalGatedUnit(), MinimalGatedUnit, path):
        layer = ours.Recurrent(given, 2, 3)
        assert isinstance(layer.equations, MinimalGatedUnit) and layer.weight_hh_l0.shape == (6, 3)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ("nowhere.Found", ValueError, r"equations='nowhere\.Found'; expected the dotted path of a class: .*nowhere"),
        ("rnn_diag.cells.Absent", ValueError, r"equations='rnn_diag\.cells\.Absent'; expected .*Absent"),
        ("rnn_diag.nn.LSTM", TypeError, r"equations='rnn_diag\.nn\.LSTM'; expected an instance or a class"),
        (nn.LSTM, TypeError, "expected an instance or a class of rnn_diag.cells.Equations"),
        (Equations, TypeError, "abstract"),
    ],
)
def test_what_are_no_equations_is_named(given: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        ours.Recurrent(given, 2, 3)


def test_parameters_that_would_not_be_trained_are_refused() -> None:
    class Holding(MinimalGatedUnit):
        def __init__(self) -> None:
            self.norm = nn.LayerNorm(4)

    with pytest.raises(ValueError, match="Holding holds norm, which would not be trained; expected"):
        ours.Recurrent(Holding, 2, 4)


def test_wrong_arguments_get_torchs_words() -> None:
    layer = ours.Recurrent(NormalisedLSTM, 2, 5)
    inputs = torch.zeros(4, 3, 2)
    with pytest.raises(RuntimeError, match="Recurrent expects two hidden states, got 1"):
        layer(inputs, torch.zeros(1, 3, 5))
    with pytest.raises(RuntimeError, match=r"Expected hidden\[1\] size \(1, 3, 5\), got \[1, 3, 4\]"):
        layer(inputs, (torch.zeros(1, 3, 5), torch.zeros(1, 3, 4)))
    with pytest.raises(RuntimeError, match=r"Expected hidden size \(1, 3, 5\), got \[1, 2, 5\]"):
        ours.Recurrent(MinimalGatedUnit, 2, 5)(inputs, torch.zeros(1, 2, 5))
    with pytest.raises(RuntimeError, match=r"input.size\(-1\) must be equal to input_size. Expected 2, got 1"):
        layer(inputs[..., :1])
    with pytest.raises(ValueError, match="num_layers must be greater than zero"):
        ours.Recurrent(MinimalGatedUnit, 2, 3, num_layers=0)
    with pytest.raises(ValueError, match="proj_size has to be smaller than hidden_size"):
        ours.Recurrent(NormalisedLSTM, 2, 3, proj_size=3)


def test_saturation_and_the_doctor_know_what_a_stuck_gate_of_ones_own_means() -> None:
    torch.manual_seed(0)
    layer = ours.Recurrent(MinimalGatedUnit, 2, 8)
    with torch.no_grad():
        layer.bias_ih_l0[:8] = -30.0
    model = Readout(layer)
    with record(model) as recording:
        model(torch.randn(12, 4, 2)).sum().backward()
    saturation = gate_saturation(recording["layer.l0"])
    assert saturation.gates == ("forget",) and float(saturation.left.mean()) == 1.0
    report = examine(model, torch.randn(12, 4, 2), lambda model, inputs: model(inputs).pow(2).sum())
    (stuck,) = [finding for finding in report.findings if finding.id == "stuck_gate"]
    assert stuck.layer == "layer.l0" and "nothing is written into the state" in stuck.meaning


class Readout(nn.Module):
    """The last output of a recurrent layer, read linearly."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.read = layer, nn.Linear(8, 1)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        read: torch.Tensor = self.read(self.layer(inputs)[0][-1])
        return read


def test_a_gate_beyond_bounds_is_recorded_and_not_called_saturated() -> None:
    class Exponential(MinimalGatedUnit):
        blocks = (Gate("forget", 0.0, float("inf")), Gate("candidate", -1.0, 1.0))

        def forward_step(self, projected: Any, recurrent: Any, previous: Any, weights: Any) -> Any:
            z_f, z_n = (projected + recurrent).chunk(2, dim=-1)
            f, n = z_f.exp(), z_n.tanh()
            hidden = (previous.hidden + f * n) / (1 + f)
            return super().forward_step(projected, recurrent, previous, weights)._replace(emitted=hidden, gates=(f, n))

    layer = ours.Recurrent(Exponential, 2, 3, dtype=torch.float64)
    with record(layer) as recording:
        layer(torch.randn(5, 2, 2, dtype=torch.float64))[0].sum().backward()
    trace = recording["l0"]
    assert trace.fidelity is not None and trace.fidelity < 1e-12
    assert gate_saturation(trace).gates == ()
    assert (trace.gates["forget"] > 0).all()


@pytest.mark.parametrize("kind", [kind for kind in EQUATIONS if not kind.startswith("projected")])
def test_any_recurrence_has_first_and_second_derivatives(kind: str) -> None:
    torch.manual_seed(0)
    layer = ours.Recurrent(EQUATIONS[kind], 2, 4).double().eval()
    inputs = torch.randn(3, 1, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: layer(given)[0][-1], inputs)
    assert torch.autograd.gradgradcheck(lambda given: layer(given)[0][-1, :, :2], inputs)


@pytest.mark.parametrize("kind", [kind for kind in EQUATIONS if not kind.startswith("projected")])
def test_any_recurrence_is_followed_under_autocast(kind: str) -> None:
    layer = ours.Recurrent(EQUATIONS[kind], 2, 4, num_layers=2)
    with record(layer) as recording, torch.autocast("cpu", torch.bfloat16):
        output, _ = layer(torch.randn(4, 3, 2))
        output.float().square().sum().backward()
    assert output.dtype == torch.bfloat16 and recording["l0"].is_faithful and recording["l1"].is_faithful
