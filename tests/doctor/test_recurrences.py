"""The doctor finds nothing in a healthy layer of any recurrence, and what is wrong with a sick one in its words."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from rnn_diag import cells, examine
from rnn_diag.cells import Equations
from rnn_diag.doctor import Report, Severity
from rnn_diag.interventions.initialization import chrono
from rnn_diag.nn import Recurrent

STEPS, FEATURES, UNITS = 30, 4, 16


class Sick(NamedTuple):
    """What makes a layer sick: a parameter, or a block's rows of it, and its value; what is found, and which words."""

    equations: Equations
    parameter: str
    value: float
    word: str
    says: str = ""


SICK = {
    "mgu": Sick(cells.MGUEquations(), "bias_ih forget", -30, "stuck_gate", "nothing is written into the state"),
    "indrnn": Sick(cells.IndRNNEquations(), "weight_hh", 1.5, "exploding", "smaller recurrent weights"),
    "min_gru": Sick(cells.MinGRUEquations(), "bias_ih update", 30, "stuck_gate", "the state is overwritten"),
    "min_lstm": Sick(cells.MinLSTMEquations(), "bias_ih input", -30, "stuck_gate", "nothing is written into the state"),
    "layer_norm_lstm": Sick(cells.LayerNormLSTMEquations(), "shift output", -30, "stuck_gate", "of the memory"),
    "zoneout_lstm": Sick(cells.ZoneoutLSTMEquations(), "bias_ih forget", -30, "stuck_gate", "the memory is wiped"),
    "variational_lstm": Sick(
        cells.VariationalLSTMEquations(), "bias_ih input", -30, "stuck_gate", "nothing is written"
    ),
    "slstm": Sick(cells.SLSTMEquations(2), "bias_ih forget", -30, "stuck_gate", "the memory is wiped"),
    "lru": Sick(cells.LRUEquations(), "weight_hh", 1.6, "vanishing", "eigenvalues, nearer to 1"),
    "selective": Sick(cells.SelectiveEquations(), "bias_ih step", 30, "stuck_gate", "the memory is overwritten"),
    "conv_lstm": Sick(cells.ConvLSTMEquations((2, 2)), "bias_ih output", -30, "stuck_gate", "of the memory"),
}


def layer(equations: Equations) -> Recurrent:
    """Return a layer that remembers as long as its sequences are."""
    torch.manual_seed(0)
    made = Recurrent(equations, FEATURES, UNITS)
    if equations.memory_gate is not None and "slstm" not in equations.name and equations.name != "selective":
        chrono(made, longest=STEPS)
    return made


def last_step(model: nn.Module, batch: Tensor) -> Tensor:
    return (model(batch)[0][-1] * torch.linspace(-1, 1, UNITS)).sum(-1).square().mean()


def examined(model: nn.Module) -> Report:
    return examine(model, torch.randn(STEPS, 8, FEATURES), last_step)


@pytest.mark.parametrize("name", SICK)
def test_a_healthy_layer_has_no_finding(name: str) -> None:
    found = examined(layer(SICK[name].equations)).findings
    assert not [finding for finding in found if finding.severity not in (Severity.INFO, Severity.ADVICE)], found


@pytest.mark.parametrize("name", SICK)
def test_a_sick_layer_has_the_finding_and_its_own_words(name: str) -> None:
    sick = SICK[name]
    model, (parameter, _, block) = layer(sick.equations), sick.parameter.partition(" ")
    with torch.no_grad():
        values = getattr(model, f"{parameter}_l0")
        (sick.equations.by_block(values, 0)[block] if block else values).fill_(sick.value)
    (finding,) = examined(model).of(sick.word)
    assert sick.says in f"{finding.meaning} {finding.remedy}"
    assert "orthogonal" not in finding.call and "identity" not in finding.call
