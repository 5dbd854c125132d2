"""Each recurrence's adjoint and Jacobian are the derivatives of its step, as autograd finds them."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor

from rnn_diag.cells import State, Step, Weights
from tests.reference.random_layers import (
    EQUATIONS,
    FEATURES,
    UNITS,
    WRITTEN,
    random_inputs,
    random_state,
    random_weights,
)

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def products(kind: str, *leading: int) -> tuple[Tensor, Tensor]:
    rows = len(EQUATIONS[kind].blocks) * UNITS
    both = [torch.randn(*leading, rows, dtype=torch.float64) for _ in range(2)]
    drawn = random_inputs(kind, *leading)[..., FEATURES:]
    return torch.cat((both[0], drawn), dim=-1).requires_grad_(), both[1].requires_grad_()


@pytest.mark.parametrize("leading", [(3,), (2, 3), (5, 2, 3)])
@pytest.mark.parametrize("kind", EQUATIONS)
def test_the_adjoint_is_autograd_of_the_step(kind: str, leading: tuple[int, ...]) -> None:
    equations, weights = EQUATIONS[kind], random_weights(kind)
    projected, recurrent = products(kind, *leading)
    # The step sees the previous hidden state before it is projected only in a GRU, where both have the same size.
    before = State(*(part.requires_grad_() for part in random_state(kind, *leading) if part is not None))
    step = equations.step(projected, recurrent, before, weights)
    emitted_grad = torch.randn_like(step.emitted)
    cell_grad = None if step.cell is None else torch.randn_like(step.cell)
    wanted = [projected, recurrent, *(part for part in before if part is not None)]
    results, given = [step.emitted], [emitted_grad]
    if step.cell is not None and cell_grad is not None:
        results, given = [*results, step.cell], [*given, cell_grad]
    by_autograd = torch.autograd.grad(results, wanted, given, allow_unused=True)
    in_training = step._replace(preactivations=())  # which keeps none
    with torch.no_grad():
        adjoint = equations.adjoint(in_training, before, emitted_grad, cell_grad, weights)
    torch.testing.assert_close(adjoint.projected_grad, by_autograd[0][..., : recurrent.shape[-1]], **EXACT)
    torch.testing.assert_close(adjoint.recurrent_grad, by_autograd[1], **EXACT)
    if adjoint.previous_hidden_grad is None:
        assert by_autograd[2] is None
    else:
        torch.testing.assert_close(adjoint.previous_hidden_grad, by_autograd[2], **EXACT)
    if equations.has_cell:
        torch.testing.assert_close(adjoint.previous_cell_grad, by_autograd[3], **EXACT)


@pytest.mark.parametrize("kind", EQUATIONS)
def test_several_gradients_on_an_extra_axis_are_each_what_they_are_alone(kind: str) -> None:
    equations, weights = EQUATIONS[kind], random_weights(kind)
    projected, recurrent = products(kind, 3)
    before = random_state(kind, 3)
    with torch.no_grad():
        step = equations.step(projected, recurrent, before, weights)
        emitted_grads = torch.randn(6, *step.emitted.shape, dtype=torch.float64)
        cell_grads = [None] * 6 if step.cell is None else torch.randn(6, *step.cell.shape, dtype=torch.float64)
        together = equations.adjoint(
            step, before, emitted_grads, cell_grads if isinstance(cell_grads, Tensor) else None, weights
        )
        for k in range(6):
            alone = equations.adjoint(step, before, emitted_grads[k], cell_grads[k], weights)
            for many, one in zip(together, alone, strict=True):
                assert (many is None) == (one is None)
                if many is not None and one is not None:
                    torch.testing.assert_close(many[k], one, **EXACT)


@pytest.mark.parametrize("kind", WRITTEN)
def test_the_memorys_total_gradient_is_autograds(kind: str) -> None:
    equations, weights = EQUATIONS[kind], random_weights(kind)
    if not equations.has_cell:
        assert equations.adjoint(*_first_step(kind, weights), torch.ones(3, UNITS).double(), None, weights)[2] is None
        return
    c = torch.randn(3, UNITS, dtype=torch.float64).requires_grad_()
    step, before = _first_step(kind, weights)
    *_, z_o = step.preactivations
    peephole = weights.extra.get("weight_co", torch.zeros(()))
    assert step.cell is not None
    output_gate = torch.sigmoid(z_o - peephole * step.cell + peephole * c)
    emitted_grad = torch.randn(3, UNITS, dtype=torch.float64)
    (expected,) = torch.autograd.grad(output_gate * c.tanh(), c, emitted_grad)
    at_c = Step(
        output_gate.detach() * c.detach().tanh(),
        c.detach(),
        (*step.gates[:3], output_gate.detach()),
        step.preactivations,
        (c.detach().tanh(),),
    )
    found = equations.adjoint(at_c, before, emitted_grad, None, weights).cell_grad
    torch.testing.assert_close(found, expected, **EXACT)


def _first_step(kind: str, weights: Weights) -> tuple[Step, State]:
    before = random_state(kind, 3)
    with torch.no_grad():
        projected, recurrent = products(kind, 3)
        return EQUATIONS[kind].step(projected, recurrent, before, weights), before


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", EQUATIONS)
def test_the_jacobian_is_autograds(kind: str, bias: bool) -> None:
    equations, weights = EQUATIONS[kind], random_weights(kind, bias=bias)
    x, before = random_inputs(kind), random_state(kind)
    sizes = [len(part) for part in before if part is not None]

    def advance(state: Tensor) -> Tensor:
        hidden, *cell = state.split(sizes)
        projected, recurrent = equations.projected(x, weights), equations.recurrent(hidden, weights)
        step = equations.step(projected, recurrent, State(hidden, *cell), weights)
        return torch.cat([weights.project(step.emitted), *([] if step.cell is None else [step.cell])])

    joined = torch.cat([part for part in before if part is not None])
    expected = torch.autograd.functional.jacobian(advance, joined)
    step = equations.step(equations.projected(x, weights), equations.recurrent(before.hidden, weights), before, weights)
    found = equations.jacobian(step, before, weights)
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("leading", [(3,), (5, 2)])
@pytest.mark.parametrize("kind", EQUATIONS)
def test_jacobians_of_a_batch_are_each_what_they_are_alone(kind: str, leading: tuple[int, ...]) -> None:
    equations, weights = EQUATIONS[kind], random_weights(kind)
    projected, recurrent = products(kind, *leading)
    before = random_state(kind, *leading)
    with torch.no_grad():
        step = equations.step(projected, recurrent, before, weights)
        together = equations.jacobian(step, before, weights)
        last = (-1,) * len(leading)
        only = State(*(part[last] for part in before if part is not None))
        step = equations.step(projected[last], recurrent[last], only, weights)
        torch.testing.assert_close(together[last], equations.jacobian(step, only, weights), **EXACT)


@pytest.mark.parametrize("kind", EQUATIONS)
def test_gates_stay_in_the_range_that_they_declare(kind: str) -> None:
    equations, weights = EQUATIONS[kind], random_weights(kind)
    projected, recurrent = products(kind, 50)
    with torch.no_grad():
        step = equations.step(3 * projected, 3 * recurrent, random_state(kind, 50), weights)
    assert len(step.gates) == len(equations.gates)
    assert len(step.preactivations) == len(equations.blocks)
    for gate, values in zip(equations.gates, step.gates, strict=True):
        assert gate.is_sigmoid == (gate.low == 0.0 and gate.high == 1.0)
        assert values.min() >= gate.low and values.max() <= gate.high
        if gate.is_bounded:
            assert values.min() < gate.low + 0.2 * (gate.high - gate.low)
            assert values.max() > gate.high - 0.2 * (gate.high - gate.low)


def test_gates_have_torchs_order() -> None:
    names = {kind: [block.name for block in equations.blocks] for kind, equations in EQUATIONS.items()}
    assert names["lstm"] == names["peephole_lstm"] == ["input", "forget", "candidate", "output"]
    assert names["gru"] == ["reset", "update", "candidate"]
    assert names["rnn_relu"] == ["hidden"] and EQUATIONS["rnn_relu"].gates == ()


@pytest.mark.parametrize("kind", EQUATIONS)
def test_equations_survive_copying_and_pickling(kind: str) -> None:
    equations = EQUATIONS[kind]
    projected, recurrent = products(kind, 2)
    before, weights = random_state(kind, 2), random_weights(kind)
    for again in (copy.deepcopy(equations), pickle.loads(pickle.dumps(equations))):
        same = again.step(projected, recurrent, before, weights)
        assert torch.equal(same.emitted, equations.step(projected, recurrent, before, weights).emitted)


def test_recurrent_maps_are_named_rows_and_take_the_projection_in() -> None:
    weights = random_weights("lstm")
    assert torch.equal(EQUATIONS["lstm"].recurrent_maps(weights)["candidate"], weights.weight_hh[2 * UNITS : 3 * UNITS])
    weights = random_weights("projected_lstm")
    assert weights.weight_hr is not None
    expected = weights.weight_hh[UNITS : 2 * UNITS] @ weights.weight_hr
    torch.testing.assert_close(EQUATIONS["lstm"].recurrent_maps(weights)["forget"], expected, **EXACT)
