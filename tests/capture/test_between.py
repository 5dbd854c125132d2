"""A state that the model changes between two calls is followed through the change, as autograd follows it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from rnn_diag import Trace, record
from rnn_diag.diagnostics import state_jacobian
from rnn_diag.diagnostics.numerics.tangent import Tangent

STEPS, BATCH, INPUTS, UNITS = 5, 3, 3, 4
EXACT = {"rtol": 0, "atol": 1e-13}
MASK = torch.tensor([[1.0], [0.0], [1.0]], dtype=torch.float64)
Between = Callable[[Tensor, Tensor], Tensor]
"""What is done to a part of the state: from what the last call returned and what it had been given."""

CHANGES: dict[str, Between] = {
    "dropped": lambda new, old: dropout(new, 0.4, training=True),
    "masked": lambda new, old: new * MASK,
    "masked in place": lambda new, old: new.clone().mul_(MASK),
    "rectified": lambda new, old: new.relu(),
    "rectified in place": lambda new, old: new.relu_(),
    "noisy": lambda new, old: new + 0.1,
    "with half the gradient": lambda new, old: 0.5 * new + 0.5 * new.detach(),
    "chosen": lambda new, old: torch.where(MASK.bool(), new, torch.ones_like(new)),
    "clipped": lambda new, old: new.clamp(-0.1, 0.1),
    "leaking": lambda new, old: 0.7 * new + 0.3 * old,
    "held unit by unit": lambda new, old: torch.where(torch.arange(UNITS) % 2 == 0, new, old),
}
HOLDING = ("leaking", "held unit by unit")
"""Changes to which the state before counts, too."""

MIXES: dict[str, Between] = {
    "mixed over sequences": lambda new, old: 0.5 * new + 0.5 * new.flip(0),
    "normalised": lambda new, old: nn.functional.layer_norm(new, (new.shape[-1],)),
    "shifted by a unit": lambda new, old: new.roll(1, -1),
}
KINDS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}


class Loop(nn.Module):
    """A cell whose state goes through a change before it is given to the next step."""

    def __init__(self, kind: str, between: Between) -> None:
        super().__init__()
        self.cell = KINDS[kind](INPUTS, UNITS).double()
        self.between = between

    def forward(self, inputs: Tensor) -> list[tuple[Tensor, ...]]:
        """Return the states as the cell returned them."""
        state = tuple(
            torch.zeros(inputs.shape[1], UNITS, dtype=torch.float64, requires_grad=True)
            for _ in range(2 if isinstance(self.cell, nn.LSTMCell) else 1)
        )
        returned = []
        for x in inputs:
            new = self.cell(x, state if len(state) > 1 else state[0])
            returned.append(new if isinstance(new, tuple) else (new,))
            state = tuple(
                self.between(one.clone() if self.between is CHANGES["rectified in place"] else one, old)
                for one, old in zip(returned[-1], state, strict=True)
            )
        return returned


def recorded(kind: str, between: Between, weight_at: Callable[[int], float]) -> tuple[Loop, Trace, list[Tensor]]:
    """Return a model, the trace of a run, and autograd's gradient of every hidden state and memory."""
    torch.manual_seed(2)
    model, inputs = Loop(kind, between), torch.randn(STEPS, BATCH, INPUTS, dtype=torch.float64)
    with record(model) as recording:
        returned = model(inputs)
        for state in returned:
            for part in state:
                part.retain_grad()
        direct = torch.randn(STEPS, BATCH, UNITS, dtype=torch.float64)
        sum(weight_at(t) * (direct[t] * returned[t][0]).sum() for t in range(STEPS)).backward()  # type: ignore[union-attr]
    grads = [
        [torch.zeros_like(p) if p.grad is None else p.grad for p in parts] for parts in zip(*returned, strict=True)
    ]
    return model, recording["cell.l0"], [torch.stack(parts) for parts in grads]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", CHANGES)
def test_total_gradients_and_their_parts_are_autograds(change: str, kind: str) -> None:
    _, trace, grads = recorded(kind, CHANGES[change], lambda t: 1.0)
    assert len(trace.hidden) == STEPS and not trace.provenance.state_changed_between_calls
    torch.testing.assert_close(trace.hidden_grad, grads[0], **EXACT)
    if kind == "lstm":
        torch.testing.assert_close(trace.cell_grad, grads[1], **EXACT)
    torch.testing.assert_close(trace.hidden_grad_direct[-1], grads[0][-1], **EXACT)
    assert trace.fidelity is not None and trace.fidelity < 1e-13
    total = trace.hidden_grad_direct + trace.hidden_grad_recurrent
    torch.testing.assert_close(total, trace.hidden_grad, **EXACT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_single_loss_is_followed_back_through_every_change(change: str, kind: str) -> None:
    _, trace, grads = recorded(kind, CHANGES[change], lambda t: float(t == STEPS - 1))
    direct = torch.zeros_like(trace.hidden)
    direct[-1] = trace.hidden_grad_direct[-1]
    swept = trace.sweep(direct)
    torch.testing.assert_close(swept.hidden_grad, grads[0], **EXACT)
    torch.testing.assert_close(trace.hidden_grad_direct, direct, **EXACT)
    if kind == "lstm":
        torch.testing.assert_close(swept.cell_grad, grads[1], **EXACT)


@pytest.mark.parametrize("kind", ["gru", "rnn"])
@pytest.mark.parametrize("change", [name for name in CHANGES if name not in HOLDING])
def test_jacobians_hold_what_was_done_to_the_state(change: str, kind: str) -> None:
    _, trace, grads = recorded(kind, CHANGES[change], lambda t: float(t == STEPS - 1))
    tangent = Tangent.of(trace)
    for t in range(1, STEPS):
        jacobian = state_jacobian(trace, t)
        handed = torch.einsum("bji,bj->bi", jacobian, grads[0][t])
        torch.testing.assert_close(handed, grads[0][t - 1], **EXACT)
        torch.testing.assert_close(tangent.backward(t, grads[0][t].unsqueeze(0))[0], grads[0][t - 1], **EXACT)


@pytest.mark.parametrize("change", HOLDING)
def test_where_the_state_is_no_function_of_the_last_one_alone_there_is_no_jacobian(change: str) -> None:
    _, trace, _ = recorded("gru", CHANGES[change], lambda t: 1.0)
    assert bool(state_jacobian(trace, 2).isnan().any())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", MIXES)
def test_where_units_are_mixed_totals_are_autograds_and_the_rest_is_not_known(change: str, kind: str) -> None:
    _, trace, grads = recorded(kind, MIXES[change], lambda t: 1.0)
    assert trace.provenance.state_changed_between_calls
    torch.testing.assert_close(trace.hidden_grad, grads[0], **EXACT)
    assert trace.fidelity is not None and trace.fidelity < 1e-13
    assert bool(trace.hidden_grad_recurrent[:-1].isnan().all())


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_that_is_held_back_where_a_sequence_has_ended_is_padding(kind: str) -> None:
    lengths, parts = torch.tensor([5, 3, 1]), 2 if kind == "lstm" else 1
    asked = iter(range(parts * STEPS))

    def hold(new: Tensor, old: Tensor) -> Tensor:
        valid = (next(asked) // parts < lengths).double().unsqueeze(1)
        return valid * new + (1 - valid) * old

    _, trace, grads = recorded(kind, hold, lambda t: float(t == 0))
    assert trace.lengths.tolist() == lengths.tolist()
    torch.testing.assert_close(trace.hidden_grad, grads[0], **EXACT)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("layers", [1, 2])
def test_segments_of_a_rollout_whose_state_is_reset_between_are_one_sequence(
    kind: type[nn.RNNBase], layers: int
) -> None:
    torch.manual_seed(0)
    module, inputs = kind(INPUTS, UNITS, layers).double(), torch.randn(6, BATCH, INPUTS, dtype=torch.float64)
    with record(module) as recording:
        _, state = module(inputs[:4])
        state = tuple(part * MASK for part in state) if isinstance(state, tuple) else state * MASK
        output, _ = module(inputs[4:], state)
        output[-1].sum().backward()
    with record(module) as whole:
        module(inputs)[0][-1].sum().backward()
    trace, kept, reset = recording["l0"], [0, 2], [1]
    assert len(trace.hidden) == 6 and not trace.provenance.state_changed_between_calls
    torch.testing.assert_close(trace.hidden_grad[:, kept], whole["l0"].hidden_grad[:, kept], **EXACT)
    assert bool((trace.hidden_grad[:4, reset] == 0).all()) and bool((trace.hidden_grad[4:, reset] != 0).any())
    top = recording[f"l{layers - 1}"]
    direct = torch.zeros_like(top.hidden)
    direct[-1] = 1.0
    torch.testing.assert_close(top.hidden_grad_direct, direct, **EXACT)
    torch.testing.assert_close(top.sweep(direct).hidden_grad, top.hidden_grad, **EXACT)
    assert trace.fidelity is not None and trace.fidelity < 1e-13


def test_nothing_of_the_training_changes_where_a_state_is_changed_between_calls() -> None:
    grads = []
    for recording in (True, False):
        torch.manual_seed(3)
        model, inputs = Loop("lstm", CHANGES["dropped"]), torch.randn(STEPS, BATCH, INPUTS, dtype=torch.float64)
        if recording:
            with record(model):
                model(inputs)[-1][0].sum().backward()
        else:
            model(inputs)[-1][0].sum().backward()
        grads.append(([parameter.grad for parameter in model.parameters()], torch.get_rng_state()))
    assert all(torch.equal(one, other) for one, other in zip(*(g for g, _ in grads), strict=True))
    assert torch.equal(grads[0][1], grads[1][1])
