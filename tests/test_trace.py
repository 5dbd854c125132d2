"""A trace built by hand holds what autograd leaves on the tensors of an unrolled network."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from rnn_diag.cells import State, Weights
from rnn_diag.testing.known import linear_trace
from rnn_diag.trace import OutputGrads, Trace
from tests.reference.random_layers import EQUATIONS, random_inputs, random_state, random_weights

STEPS, BATCH = 7, 3
MASK = torch.arange(STEPS).unsqueeze(1) < torch.tensor([7, 4, 1])
EXACT = {"rtol": 1e-10, "atol": 1e-10}


@dataclass
class Unrolled:
    """What a loop over single sequences and steps went through, with `retain_grad` on everything."""

    hidden: list[list[Tensor]]
    cell: list[list[Tensor]]
    preactivations: list[list[Tensor]]
    gates: list[list[Tensor]]
    previous: list[list[State]]


def unrolled(
    kind: str, weights: Weights, inputs: Tensor, initial: State, lengths: list[int], reverse: bool
) -> Unrolled:
    """Read every sequence on its own, from its first valid step or from its last."""
    equations = EQUATIONS[kind]
    found = Unrolled(*([[None] * BATCH for _ in range(STEPS)] for _ in range(5)))  # type: ignore[arg-type]
    for b in range(BATCH):
        state = State(*(part[b] for part in initial if part is not None))
        for t in reversed(range(lengths[b])) if reverse else range(lengths[b]):
            found.previous[t][b] = state
            projected, recurrent = (
                equations.projected(inputs[t, b], weights),
                equations.recurrent(state.hidden, weights),
            )
            step = equations.step(projected, recurrent, state, weights)
            for part in step.preactivations:
                part.retain_grad()
            state = State(weights.project(step.emitted) + 0.0, step.cell)
            found.hidden[t][b], found.cell[t][b] = state.hidden, state.cell  # type: ignore[assignment]
            found.preactivations[t][b], found.gates[t][b] = step.preactivations, step  # type: ignore[call-overload]
            for part in (state.hidden, state.cell):
                if part is not None:
                    part.retain_grad()
    return found


def stacked(nested: list[list[Tensor | None]], size: int) -> Tensor:
    """Return `[T, B, size]` with zeros at padding."""
    none = torch.zeros(size, dtype=torch.float64)
    return torch.stack([torch.stack([none if part is None else part for part in row]) for row in nested])


def grads(nested: list[list[Tensor | None]], size: int) -> Tensor:
    return stacked([[None if part is None else part.grad for part in row] for row in nested], size)


@pytest.mark.parametrize("known_states", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", EQUATIONS)
def test_every_field_is_autograds(kind: str, reverse: bool, padded: bool, known_states: bool) -> None:
    equations, weights = EQUATIONS[kind], random_weights(kind)
    for weight in weights.present().values():
        weight.mul_(0.6).requires_grad_()
    lengths = [7, 4, 1] if padded else [7, 7, 7]
    mask = MASK if padded else torch.ones_like(MASK)
    inputs = random_inputs(kind, STEPS, BATCH).requires_grad_()
    initial = random_state(kind, BATCH)
    size = initial.hidden.shape[-1]
    ran = unrolled(kind, weights, inputs, initial, lengths, reverse)

    hidden = stacked(ran.hidden, size)
    direct = torch.randn_like(hidden) * mask.unsqueeze(-1)
    last = [0 if reverse else length - 1 for length in lengths]
    final = State(*(torch.randn_like(part) for part in initial if part is not None))
    loss = (hidden * direct).sum() + sum((final.hidden[b] * ran.hidden[last[b]][b]).sum() for b in range(BATCH))
    if final.cell is not None:
        loss = loss + sum((final.cell[b] * ran.cell[last[b]][b]).sum() for b in range(BATCH))
    loss.backward()

    trace = Trace.of(
        "encoder.l0",
        equations,
        weights.copy(),
        inputs.detach(),
        initial,
        mask=mask if padded else None,
        hidden=hidden.detach() if known_states else None,
        output_grads=OutputGrads(direct, final),
        reverse=reverse,
    )
    where = mask.unsqueeze(-1)
    assert trace.lengths.tolist() == lengths
    torch.testing.assert_close(trace.hidden * where, hidden.detach(), **EXACT)
    before = stacked([[s and s.hidden for s in row] for row in ran.previous], size)
    torch.testing.assert_close(trace.previous_hidden * where, before.detach(), **EXACT)
    total = grads(ran.hidden, size)
    at_the_end = torch.zeros_like(direct)
    at_the_end[last, range(BATCH)] = final.hidden
    torch.testing.assert_close(trace.hidden_grad, total, **EXACT)
    torch.testing.assert_close(trace.hidden_grad_direct, direct + at_the_end, **EXACT)
    torch.testing.assert_close(trace.hidden_grad_recurrent, total - direct - at_the_end, **EXACT)
    if equations.has_cell:
        assert trace.cell is not None and trace.previous_cell is not None and trace.cell_grad is not None
        units = trace.cell.shape[-1]
        torch.testing.assert_close(trace.cell * where, stacked(ran.cell, units).detach(), **EXACT)
        before = stacked([[s and s.cell for s in row] for row in ran.previous], units)
        torch.testing.assert_close(trace.previous_cell * where, before.detach(), **EXACT)
        torch.testing.assert_close(trace.cell_grad, grads(ran.cell, units), **EXACT)
    else:
        assert trace.cell is None and trace.cell_grad is None and trace.previous_cell is None
    assert list(trace.preactivation_grad) == [block.name for block in equations.blocks]
    for k, grad in enumerate(trace.preactivation_grad.values()):
        expected = grads([[None if z is None else z[k] for z in row] for row in ran.preactivations], grad.shape[-1])
        torch.testing.assert_close(grad, expected, **EXACT)
    for k, (name, values) in enumerate(trace.gates.items()):
        steps = [[s and s.gates[k] for s in row] for row in ran.gates]
        torch.testing.assert_close(values * where, stacked(steps, values.shape[-1]).detach(), **EXACT)
        assert name == equations.gates[k].name
    for k, values in enumerate(trace.preactivations.values()):
        steps = [[s and s.preactivations[k] for s in row] for row in ran.gates]
        torch.testing.assert_close(values * where, stacked(steps, values.shape[-1]).detach(), **EXACT)
    assert list(trace.preactivations) == [block.name for block in equations.blocks]
    torch.testing.assert_close(trace.input_grad, inputs.grad, **EXACT)
    torch.testing.assert_close(trace.recurrent_weight_grad, weights.weight_hh.grad, **EXACT)


def test_gates_of_a_plain_rnn_are_none_and_its_preactivation_is_its_hidden_states() -> None:
    trace = simple_trace("rnn")
    assert trace.gates == {}
    torch.testing.assert_close(trace.preactivations["hidden"].tanh(), trace.hidden, **EXACT)


def test_gates_have_the_documented_names() -> None:
    assert list(simple_trace("lstm").gates) == ["input", "forget", "candidate", "output"]
    assert list(simple_trace("gru").gates) == ["reset", "update", "candidate"]


def test_recurrent_weights_are_per_gate_and_take_the_projection_in() -> None:
    trace = simple_trace("projected_lstm")
    assert trace.weights.weight_hr is not None
    assert {name: tuple(w.shape) for name, w in trace.recurrent_weights.items()} == {
        name: (4, 4) for name in ("input", "forget", "candidate", "output")
    }
    expected = trace.weights.weight_hh[4:8] @ trace.weights.weight_hr
    torch.testing.assert_close(trace.recurrent_weights["forget"], expected, **EXACT)


def test_gradients_without_a_backward_pass_are_an_error_that_says_so() -> None:
    trace = simple_trace("gru")
    assert not trace.has_gradients
    with pytest.raises(RuntimeError, match="'l0' has no gradients: no backward pass reached it"):
        _ = trace.hidden_grad


def test_a_trace_made_by_hand_has_no_fidelity_and_says_why() -> None:
    trace = simple_trace("gru")
    assert trace.fidelity is None and trace.is_faithful is None
    assert "the trace was not recorded" in trace.fidelity_reason


def test_repr_names_the_layer_and_its_size() -> None:
    assert repr(simple_trace("lstm")) == "Trace(l0: lstm, 7 steps, 3 sequences)"


def simple_trace(kind: str, output_grads: object = None) -> Trace:
    inputs = random_inputs(kind, STEPS, BATCH)
    weights = random_weights(kind)
    return Trace.of("l0", EQUATIONS[kind], weights, inputs, random_state(kind, BATCH), output_grads=output_grads)  # type: ignore[arg-type]


def test_a_notebook_shows_what_was_recorded_and_figures_without_a_backend() -> None:
    pytest.importorskip("matplotlib")
    trace = linear_trace(0.5, steps=3)
    shown = trace._repr_html_()
    assert "<table>" in shown and "<td>steps</td><td>3</td>" in shown and "self-check" in shown
    drawn = trace.plot()
    assert repr(drawn).startswith("Figures(gradient_profile") and set(drawn) >= {"influence", "complex_plane"}
    html = drawn._repr_html_()
    assert html.count("<svg ") == len(drawn) and 'aria-label="influence"' in html
