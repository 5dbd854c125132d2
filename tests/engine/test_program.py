"""A program does as little as its recurrence needs between two products; that it is right is tested with its engine."""

from __future__ import annotations

import pytest

from rnn_diag.engine.elementwise import elementwise_step
from rnn_diag.engine.program import Form, Program, three_parts, written
from tests.reference.random_layers import EQUATIONS, random_weights


def program(kind: str, **form: bool) -> Program:
    given = {"keeps_preactivations": False, "biased": True, "projected": False, "masked": False} | form
    return written(elementwise_step(EQUATIONS[kind], random_weights(kind)), Form(**given))


@pytest.mark.parametrize(("kind", "operations"), [("rnn", 2), ("gru", 8), ("lstm", 7), ("peephole_lstm", 11)])
def test_a_step_is_a_handful_of_operations(kind: str, operations: int) -> None:
    source = program(kind).source
    assert source.count("(") - 1 - source.count("(1.0)") == operations, source


def test_an_lstm_adds_its_recurrent_product_in_place_and_takes_three_sigmoids_at_once() -> None:
    found = program("lstm")
    assert found.folded
    assert found.order == (0, 1, 3, 2)
    assert "row.addmm_(hidden, weight)" in found.source
    assert found.source.count("sigmoid_()") == 1


def test_a_reset_gate_stands_between_the_recurrent_product_and_the_sum() -> None:
    assert not program("gru").folded
    assert "out=row" in program("gru", biased=False).source


def test_gates_take_the_place_of_preactivations_unless_these_are_kept() -> None:
    dropped, kept = program("lstm"), program("lstm", keeps_preactivations=True)
    assert dropped.stored == ("stored0",), "tanh of the memory alone has memory of its own"
    assert len(kept.stored) == 5


def test_padding_holds_the_state_and_a_projection_makes_it() -> None:
    source = program("projected_lstm", projected=True, masked=True).source
    assert "mm(emitted, projection, out=new_hidden)" in source
    assert "new_hidden.copy_(where(valid, new_hidden, hidden))" in source
    assert "new_cell.copy_(where(valid, new_cell, cell))" in source


def test_from_known_states_only_the_memory_is_a_loop() -> None:
    found = three_parts(elementwise_step(EQUATIONS["lstm"], random_weights("lstm")))
    assert len(found.read) == 2, "the forget gate, and what the input gate writes"
    assert {statement.operation for statement in found.after} == {"tanh", "mul"}
    assert not three_parts(elementwise_step(EQUATIONS["gru"], random_weights("gru"))).after
