"""Every measure of a trace on every engine: what depends on the engine is the time it takes, nothing else."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_diag import Trace, diagnostics, record
from rnn_diag.cells import Gate, State
from tests.cells.test_by_autograd import ForwardOnly
from tests.reference.random_layers import CELLS, random_trace

KINDS: dict[str, Callable[..., nn.RNNBase]] = {
    "lstm": nn.LSTM,
    "projected_lstm": lambda *sizes, **options: nn.LSTM(*sizes, proj_size=2, **options),
    "gru": nn.GRU,
    "rnn_tanh": nn.RNN,
    "rnn_relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
}

MEASURES: dict[str, Callable[[Trace], Any]] = {
    "bounded_input_gain": diagnostics.bounded_input_gain,
    "carousel": diagnostics.carousel,
    "cell_grad_norms": diagnostics.cell_grad_norms,
    "early_late_cosine": diagnostics.early_late_cosine,
    "first_non_finite": diagnostics.first_non_finite,
    "fisher_memory_curve": diagnostics.fisher_memory_curve,
    "forget_rate": diagnostics.forget_rate,
    "gate_drive": diagnostics.gate_drive,
    "gate_saturation": diagnostics.gate_saturation,
    "gradient_profile": diagnostics.gradient_profile,
    "gradient_profile_from_the_end": diagnostics.gradient_profile_from_the_end,
    "gradient_ratio_to_last": diagnostics.gradient_ratio_to_last,
    "gradient_span": diagnostics.gradient_span,
    "hidden_grad_norms": diagnostics.hidden_grad_norms,
    "hidden_grad_norms_direct": diagnostics.hidden_grad_norms_direct,
    "hidden_grad_norms_recurrent": diagnostics.hidden_grad_norms_recurrent,
    "impulse_response": diagnostics.impulse_response,
    "jacobian_product_singular_values": lambda trace: diagnostics.jacobian_product_singular_values(trace, 1, 4),
    "lagged_cell_grad_norms": lambda trace: diagnostics.lagged_cell_grad_norms(trace, [-1, 0]),
    "lagged_grad_norms": lambda trace: diagnostics.lagged_grad_norms(trace, [-1, 2, 0]),
    "lagged_state_norms": lambda trace: diagnostics.lagged_state_norms(trace, [-1, 0]),
    "log_gradient_slope": diagnostics.log_gradient_slope,
    "log_retention": diagnostics.log_retention,
    "lyapunov_exponents": lambda trace: diagnostics.lyapunov_exponents(trace, k=2),
    "memory_capacity": lambda trace: diagnostics.memory_capacity(trace, max_delay=1),
    "relu_silence": diagnostics.relu_silence,
    "spread_targets": lambda trace: diagnostics.spread_targets(trace, 3),
    "state_jacobian": lambda trace: diagnostics.state_jacobian(trace, 1),
    "step_weight_grad_norms": diagnostics.step_weight_grad_norms,
    "tanh_saturation": diagnostics.tanh_saturation,
}
NEEDS_A_CELL = {"carousel", "cell_grad_norms", "lagged_cell_grad_norms"}
NEEDS_A_MEMORY_GATE = {"forget_rate", "log_retention"}


class LeftToAutograd(ForwardOnly):
    """Another recurrence without its adjoint, whose gates are the same."""

    @property
    def gates(self) -> tuple[Gate, ...]:
        return self.explicit.gates


def test_every_measure_of_a_trace_is_among_those_tried() -> None:
    functions = {name: getattr(diagnostics, name) for name in diagnostics.__all__}
    of_a_trace = {
        name
        for name, function in functions.items()
        if inspect.isfunction(function)
        and "Trace" in str(next(iter(inspect.signature(function).parameters.values())).annotation)
    }
    assert of_a_trace == set(MEASURES)


@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "bidirectional"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_measure_is_the_same_on_every_engine(kind: str, bidirectional: bool, packed: bool) -> None:
    module = KINDS[kind](3, 4, bidirectional=bidirectional).double()
    inputs = torch.randn(6, 3, 3, dtype=torch.float64)
    explicit, replayed = (recorded(module, inputs, packed, engine) for engine in ("explicit", "replay"))
    compare(explicit, replayed)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_measure_is_the_same_of_equations_whose_adjoint_is_left_to_autograd(cell: str, reverse: bool) -> None:
    written = random_trace(cell, [6, 4, 1], reverse=reverse, final_cell_grad="lstm" in cell)
    left = Trace.of(
        "l0",
        LeftToAutograd(written.equations),
        written.weights,
        written.inputs,
        State(*(part for part in (written.initial_hidden, written.initial_cell) if part is not None)),
        written.mask,
        output_grads=written.source._output_grads,
        reverse=reverse,
    )
    compare({"l0": written}, {"l0": left})


def compare(expected: Mapping[str, Trace], found: Mapping[str, Trace]) -> None:
    for layer, (name, measure) in itertools.product(expected, MEASURES.items()):
        equations = expected[layer].equations
        if name in NEEDS_A_CELL and not equations.has_cell:
            continue
        if name in NEEDS_A_MEMORY_GATE and equations.memory_gate is None:
            continue
        theirs, ours = (list(numbers_in(measure(traces[layer]))) for traces in (expected, found))
        assert len(theirs) == len(ours)
        for one, other in zip(theirs, ours, strict=True):
            torch.testing.assert_close(
                other,
                one,
                rtol=1e-10,
                atol=1e-12,
                equal_nan=True,
                msg=lambda text, what=f"{name}({layer})": what + text,
            )


def recorded(module: nn.RNNBase, inputs: Tensor, packed: bool, engine: str) -> dict[str, Trace]:
    """Record one call and a loss that reaches its outputs and its final states, each part with a weight of its own."""
    generator = torch.Generator().manual_seed(3)
    fed = pack_padded_sequence(inputs, [6, 4, 1], enforce_sorted=True) if packed else inputs
    with record(module, engine=engine) as recording:
        output, final = module(fed)
        parts = [output.data if packed else output, *(final if isinstance(final, tuple) else (final,))]
        weighed = [(part * torch.randn(part.shape, generator=generator, dtype=part.dtype)).sum() for part in parts]
        torch.stack(weighed).sum().backward()
        module.zero_grad()
    return {layer: recording[layer] for layer in recording}


def numbers_in(found: Any) -> Iterator[Tensor]:
    """Return the tensors that a measure returned, whatever it returned them in."""
    if isinstance(found, Tensor):
        yield found
    elif is_dataclass(found):
        yield from numbers_in([getattr(found, field.name) for field in fields(found)])
    elif isinstance(found, (list, tuple)):
        for one in found:
            yield from numbers_in(one)
    elif isinstance(found, float):
        yield torch.tensor(found)
