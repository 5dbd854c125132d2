"""What equations declare about their gates, so that nothing asks which cell it looks at."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import logsigmoid

from rnn_diag.cells import (
    Equations,
    Gate,
    GRUEquations,
    LSTMEquations,
    PeepholeLSTMEquations,
    RNNEquations,
    Role,
)
from tests.reference.minimal_gated_unit import MinimalGatedUnit


@pytest.mark.parametrize(
    ("equations", "gate", "kept_when"),
    [
        (LSTMEquations(), "forget", "open"),
        (PeepholeLSTMEquations(), "forget", "open"),
        (GRUEquations(), "update", "open"),
        (MinimalGatedUnit(), "forget", "shut"),
        (RNNEquations(), None, None),
    ],
)
def test_the_memory_gate_is_the_one_that_keeps(equations: Equations, gate: str | None, kept_when: str | None) -> None:
    assert equations.memory_gate == gate
    if gate is not None:
        assert equations.block(gate).keeps_when == kept_when


@pytest.mark.parametrize("equations", [LSTMEquations(), PeepholeLSTMEquations()])
def test_shut_gates_harm_an_lstm_and_open_ones_do_not(equations: Equations) -> None:
    assert dict(equations.harmful) == {
        ("input", "shut"): "nothing is written into the memory",
        ("forget", "shut"): "the memory is wiped at every step",
        ("output", "shut"): "nothing of the memory is shown",
    }


def test_both_ends_of_a_gate_that_keeps_or_writes_are_harmful() -> None:
    assert dict(GRUEquations().harmful) == {
        ("update", "open"): "nothing is written into the state",
        ("update", "shut"): "the state is overwritten at every step",
    }
    assert dict(MinimalGatedUnit().harmful) == {
        ("forget", "shut"): "nothing is written into the state",
        ("forget", "open"): "the state is overwritten at every step",
    }


def test_a_plain_recurrence_has_nothing_to_be_stuck_at() -> None:
    assert not RNNEquations().harmful


def test_an_exponential_gate_is_not_bounded_and_not_judged() -> None:
    class ExponentialInput(MinimalGatedUnit):
        blocks = (Gate("input", 0.0, math.inf, Role.WRITES), Gate("candidate", -1.0, 1.0, Role.CANDIDATE))

    assert not ExponentialInput.blocks[0].is_bounded
    assert not ExponentialInput().harmful


def test_a_gate_without_a_role_is_not_judged() -> None:
    class Undeclared(MinimalGatedUnit):
        blocks = (Gate("forget", 0.0, 1.0), Gate("candidate", -1.0, 1.0))

    assert Undeclared.blocks[0].role is None
    assert Undeclared().memory_gate is None
    assert not Undeclared().harmful


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu", "sigmoid", "identity"])
def test_hidden_states_are_bounded_where_the_nonlinearity_is(nonlinearity: str) -> None:
    equations = RNNEquations(nonlinearity)
    assert equations.hidden_is_bounded == (nonlinearity in ("tanh", "sigmoid"))
    assert (equations.fused is not None) == (nonlinearity in ("tanh", "relu"))


def test_the_share_kept_is_what_the_gate_leaves_of_the_memory() -> None:
    z = torch.tensor([-800.0, -1.0, 0.0, 2.0], dtype=torch.float64)
    for equations in (LSTMEquations(), GRUEquations()):
        assert torch.equal(equations.block(equations.memory_gate or "").log_kept(z), logsigmoid(z))
    forget = MinimalGatedUnit().block("forget")
    torch.testing.assert_close(forget.log_kept(z), (1 - z.sigmoid()).log(), rtol=1e-14, atol=0)
    with pytest.raises(ValueError, match="gate='input'; expected a sigmoid gate that keeps the memory"):
        LSTMEquations().block("input").log_kept(z)


def test_an_unknown_block_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="block='update'; choices: input, forget, candidate, output"):
        LSTMEquations().block("update")
