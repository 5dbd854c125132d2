"""Torch's kernel once more with a probe: what a sweep finds, at its speed."""

from __future__ import annotations

import pytest
import torch

from rnn_diag.cells.equations import State
from rnn_diag.engine.replay import can_replay, replay_sweep
from rnn_diag.engine.sweep import sweep
from rnn_diag.engine.unroll import unroll
from tests.reference.random_layers import EQUATIONS, FEATURES, UNITS, hidden_size, mask_of, random_state, random_weights

KINDS = [kind for kind, equations in EQUATIONS.items() if can_replay(equations)]


def test_what_torch_has_no_kernel_for_cannot_be_replayed() -> None:
    assert not can_replay(EQUATIONS["peephole_lstm"]) and not can_replay(EQUATIONS["minimal_gated_unit"])
    assert {"gru", "lstm", "projected_lstm"} <= set(KINDS)


@pytest.mark.parametrize("several", [(), (3,)], ids=["one", "three at once"])
@pytest.mark.parametrize("lengths", [None, [6, 3]])
@pytest.mark.parametrize("kind", KINDS)
def test_every_gradient_is_the_sweeps(kind: str, lengths: list[int] | None, several: tuple[int, ...]) -> None:
    equations, weights = EQUATIONS[kind], random_weights(kind, scale=0.5)
    mask = None if lengths is None else mask_of(lengths)
    inputs = torch.randn(6, 2, FEATURES, dtype=torch.float64)
    unrolled = unroll(equations, weights, inputs, random_state(kind, 2), mask)
    direct = torch.randn(6, *several, 2, hidden_size(kind), dtype=torch.float64)
    direct = direct if mask is None else direct * mask.view(6, *([1] * len(several)), 2, 1)
    final = State(torch.zeros_like(direct[0]), torch.randn(*several, 2, UNITS, dtype=torch.float64))
    given = final if equations.has_cell else None
    state = torch.get_rng_state()
    found = replay_sweep(equations, weights, unrolled, direct, given)
    assert torch.equal(torch.get_rng_state(), state)
    expected = sweep(equations, weights, unrolled, direct, given)
    for name in ("hidden_grad", "hidden_grad_recurrent", "cell_grad", "projected_grad", "recurrent_grad"):
        one, other = getattr(found, name), getattr(expected, name)
        if other is not None:
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
