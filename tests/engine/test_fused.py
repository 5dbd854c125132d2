"""Kernels written from equations, run by Triton's interpreter, give what the loop on the equations gives."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

if torch.cuda.is_available():
    pytest.skip("kernels run on the GPU: tests/engine/test_on_a_gpu.py", allow_module_level=True)
os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported
pytest.importorskip("triton", reason="Triton is not installed: pip install rnn_diag[gpu]")

from rnn_diag.cells import State
from rnn_diag.engine.fused import Fused, fits_on_chip, statements_of, steps_from_states
from rnn_diag.engine.sweep import sweep
from rnn_diag.engine.unroll import unroll, unroll_from_states
from tests.engine.test_elementwise import CASES
from tests.reference.random_layers import EQUATIONS, FEATURES, UNITS, random_state, random_weights

EXACT = {"rtol": 1e-11, "atol": 1e-11}
STEPS, BATCH = 5, 3
MASK = torch.arange(STEPS).unsqueeze(1) < torch.tensor([5, 3, 1])


def same(found: object, expected: object) -> None:
    if isinstance(expected, tuple):
        for a, b in zip(found, expected, strict=True):
            same(a, b)
    elif expected is None:
        assert found is None
    else:
        torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("persistent", [True, False])
@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("kind", CASES)
def test_both_forms_give_what_the_loop_gives(kind: str, mask: Tensor | None, persistent: bool) -> None:
    equations, weights = EQUATIONS[kind], random_weights(kind)
    inputs = torch.randn(STEPS, BATCH, FEATURES, dtype=torch.float64)
    initial = random_state(kind, BATCH)
    expected = unroll(equations, weights, inputs, initial, mask)
    step = statements_of(equations, weights)
    assert step is not None
    engine = Fused(step, persistent)
    found = engine.unroll(equations, weights, inputs, initial, mask)
    same((found.hidden, found.cell), (expected.hidden, expected.cell))
    same(tuple(found.steps), tuple(expected.steps))
    direct = torch.randn(STEPS, 2, BATCH, UNITS, dtype=torch.float64)
    if mask is not None:
        direct = direct * mask[:, None, :, None]
    final = State(
        torch.randn(2, BATCH, UNITS).double(), torch.randn(BATCH, UNITS).double() if equations.has_cell else None
    )
    for last in (None, final):
        swept, wanted = (
            engine.sweep(equations, weights, found, direct, last),
            sweep(equations, weights, expected, direct, last),
        )
        for name in (
            "hidden_grad",
            "hidden_grad_recurrent",
            "cell_grad",
            "projected_grad",
            "recurrent_grad",
            "initial",
        ):
            same(getattr(swept, name), getattr(wanted, name))


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("kind", ["lstm", "peephole_lstm"])
def test_cells_follow_from_known_hidden_states_in_one_launch(kind: str, mask: Tensor | None) -> None:
    equations, weights = EQUATIONS[kind], random_weights(kind)
    inputs, initial = torch.randn(STEPS, BATCH, FEATURES, dtype=torch.float64), random_state(kind, BATCH)
    if mask is not None:
        inputs = inputs * mask.unsqueeze(-1)
    hidden = unroll(equations, weights, inputs, initial, mask).hidden
    expected = unroll_from_states(equations, weights, inputs, initial, hidden, mask)
    step, before = statements_of(equations, weights), expected.previous_hidden
    assert step is not None
    products = inputs @ weights.weight_ih.T + weights.bias_ih, before @ weights.weight_hh.T + weights.bias_hh, before
    found = steps_from_states(step, weights, inputs, initial, hidden, mask, products)
    same(found.cell, expected.cell)
    same(tuple(found.steps), tuple(expected.steps))


def test_single_precision_rounds_like_single_precision() -> None:
    weights = random_weights("lstm")
    inputs, initial = torch.randn(STEPS, BATCH, FEATURES, dtype=torch.float64), random_state("lstm", BATCH)
    step = statements_of(EQUATIONS["lstm"], weights)
    assert step is not None
    exact = unroll(EQUATIONS["lstm"], weights, inputs, initial)
    single = State(*(part.float() for part in initial if part is not None))
    found = Fused(step, True).unroll(EQUATIONS["lstm"], weights.to(torch.float32), inputs.float(), single)
    torch.testing.assert_close(found.hidden.double(), exact.hidden, rtol=1e-5, atol=1e-6)


def test_weights_that_no_program_can_hold_are_left_to_the_other_form() -> None:
    step = statements_of(EQUATIONS["lstm"], random_weights("lstm"))
    assert step is not None
    weights = random_weights("lstm", dtype=torch.float32)
    assert fits_on_chip(step, weights)
    wide = type(weights)(torch.zeros(4 * 129, 3), torch.zeros(4 * 129, 129))
    assert not fits_on_chip(step, wide)
    assert not fits_on_chip(step, type(weights)(torch.zeros(512, 3).double(), torch.zeros(512, 128).double()))
