"""Captured runs: replayed from the second time on, never over a result that is held, within a bound of memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from rnn_diag.cells import State
from rnn_diag.engine import graphed
from rnn_diag.engine.engine import Explicit
from rnn_diag.engine.graphed import GraphCache, Graphed, Run
from rnn_diag.engine.sweep import sweep, weight_grads
from rnn_diag.engine.unroll import unroll
from tests.reference.random_layers import EQUATIONS, FEATURES, UNITS, WRITTEN, random_state, random_weights

STEPS, BATCH = 5, 3
MASK = torch.arange(STEPS).unsqueeze(1) < torch.tensor([5, 3, 1])


def pretended(run: Run, inputs: Sequence[Tensor]) -> tuple[list[Tensor], Callable[[], None]]:
    """Capture as a device would: fixed memory, which a replay fills from fixed memory."""
    outputs = run(inputs)

    def replay() -> None:
        for output, new in zip(outputs, run(inputs), strict=True):
            output.copy_(new)

    return outputs, replay


def cache(**options: object) -> GraphCache:
    return GraphCache(**({"max_bytes": 2**20, "capture": pretended} | options))  # type: ignore[arg-type]


def double(inputs: Sequence[Tensor]) -> list[Tensor]:
    return [inputs[0] * 2]


def test_the_first_run_of_a_shape_is_not_captured_and_the_second_is() -> None:
    graphs, inputs = cache(), [torch.arange(3.0)]
    for captured in (0, 1, 1):
        assert torch.equal(graphs("double", double, inputs)[0], inputs[0] * 2)
        assert len(graphs) == captured
    graphs("double", double, [torch.arange(4.0)])
    assert len(graphs) == 1


def test_a_result_that_is_held_is_never_overwritten() -> None:
    graphs = cache()
    held = [graphs("double", double, [torch.full((3,), float(k))])[0] for k in range(4)]
    assert [tensor[0].item() for tensor in held] == [0.0, 2.0, 4.0, 6.0]
    assert len(graphs) == 3
    del held
    for k in range(4):
        assert graphs("double", double, [torch.full((3,), float(k))])[0][0] == 2 * k
    assert len(graphs) == 3


def test_a_view_holds_a_result_too() -> None:
    graphs = cache()
    views = [graphs("double", double, [torch.full((3,), float(k))])[0][1:] for k in range(3)]
    assert [view[0].item() for view in views] == [0.0, 2.0, 4.0]


def test_graphs_keep_to_their_memory_and_results_stay_right() -> None:
    bound = 40 * 8 * 100
    graphs = cache(max_bytes=bound)
    for k in range(30):
        inputs = [torch.full((100 + k % 10,), float(k), dtype=torch.float64)]
        assert graphs("double", double, inputs)[0][0] == 2 * k
        assert graphs.bytes <= bound
    assert len(graphs) > 0


def test_where_there_is_no_room_nothing_is_captured() -> None:
    graphs = cache(max_bytes=8)
    for k in range(3):
        assert graphs("double", double, [torch.full((3,), float(k))])[0][0] == 2 * k
    assert len(graphs) == 0


def test_a_failed_capture_is_told_once_and_the_run_goes_through() -> None:
    def fails(run: Run, inputs: Sequence[Tensor]) -> tuple[list[Tensor], Callable[[], None]]:
        raise RuntimeError("operation not permitted when stream is capturing")

    graphs = cache(capture=fails)
    graphs("double", double, [torch.ones(3)])
    with pytest.warns(UserWarning, match="captured as a CUDA graph.*not permitted"):
        assert graphs("double", double, [torch.ones(3)])[0][0] == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert graphs("double", double, [torch.ones(3)])[0][0] == 2


def test_inside_another_capture_nothing_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = cache()
    monkeypatch.setattr(graphed, "_is_capturing", lambda _: True)
    for _ in range(3):
        graphs("double", double, [torch.ones(3)])
    assert len(graphs) == 0


def test_clearing_leaves_results_alone() -> None:
    graphs = cache()
    held = [graphs("double", double, [torch.ones(3)])[0] for _ in range(2)]
    graphs.clear()
    assert len(graphs) == 0
    assert graphs.bytes == 0
    assert held[1][0] == 2


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("kind", [kind for kind in WRITTEN if kind != "projected_lstm"])
def test_a_layer_forwards_and_backwards_is_the_same_replayed(kind: str, mask: Tensor | None) -> None:
    equations, graphs = EQUATIONS[kind], cache()
    engine = Graphed(Explicit(), kind, graphs=graphs)
    for _ in range(4):
        weights, initial = random_weights(kind), random_state(kind, BATCH)
        inputs = torch.randn(STEPS, BATCH, FEATURES, dtype=torch.float64)
        expected = unroll(equations, weights, inputs, initial, mask, keep_preactivations=False)
        found = engine.unroll(equations, weights, inputs, initial, mask, keep_preactivations=False)
        torch.testing.assert_close(found.hidden, expected.hidden, rtol=0, atol=0)
        direct = torch.randn_like(expected.hidden)
        final = State(torch.randn(BATCH, UNITS, dtype=torch.float64))
        swept = sweep(equations, weights, expected, direct, final)
        grads = engine.layer_grads(equations, weights, inputs, found, direct, final, inputs_need_grad=True)
        torch.testing.assert_close(grads.inputs, swept.projected_grad @ weights.weight_ih, rtol=0, atol=1e-12)
        torch.testing.assert_close(grads.initial.hidden, swept.initial.hidden, rtol=0, atol=1e-12)
        for name, grad in weight_grads(equations, weights, inputs, expected, swept).items():
            torch.testing.assert_close(grads.weights[name], grad, rtol=0, atol=1e-12)
        alone = engine.sweep(equations, weights, found, direct, final)
        torch.testing.assert_close(alone.hidden_grad, swept.hidden_grad, rtol=0, atol=1e-12)
        del found, alone
    assert len(graphs) == 3


def test_two_layers_of_one_shape_before_their_backward_passes_do_not_meet() -> None:
    equations, weights, graphs = EQUATIONS["lstm"], random_weights("lstm"), cache()
    engine = Graphed(Explicit(), "lstm", graphs=graphs)
    for _ in range(3):
        inputs = torch.randn(2, STEPS, BATCH, FEATURES, dtype=torch.float64)
        initial = random_state("lstm", BATCH)
        runs = [engine.unroll(equations, weights, one, initial) for one in inputs]
        direct, last = torch.randn_like(runs[0].hidden), State(torch.zeros(BATCH, UNITS).double())
        for one, run in reversed(list(zip(inputs, runs, strict=True))):
            ran = unroll(equations, weights, one, initial)
            expected = weight_grads(equations, weights, one, ran, sweep(equations, weights, ran, direct, last))
            found = engine.layer_grads(equations, weights, one, run, direct, last, inputs_need_grad=False)
            torch.testing.assert_close(found.weights["weight_hh"], expected["weight_hh"], rtol=0, atol=1e-12)
        del runs, run
    assert len(graphs) == 4
