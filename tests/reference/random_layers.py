"""Every recurrence with random weights and what it goes through, beside the same network unrolled under autograd."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rnn_diag.cells import (
    ConvLSTMEquations,
    Equations,
    GRUEquations,
    IndRNNEquations,
    LayerNormLSTMEquations,
    LRUEquations,
    LSTMEquations,
    MGUEquations,
    MinGRUEquations,
    MinLSTMEquations,
    PeepholeLSTMEquations,
    RNNEquations,
    SelectiveEquations,
    SLSTMEquations,
    State,
    VariationalLSTMEquations,
    Weights,
    ZoneoutLSTMEquations,
)
from rnn_diag.engine.unroll import back_to_front
from rnn_diag.trace import OutputGrads, Trace
from tests.reference.minimal_gated_unit import MinimalGatedUnit

EQUATIONS: dict[str, Equations] = {
    "rnn": RNNEquations("tanh"),
    "rnn_relu": RNNEquations("relu"),
    "rnn_sigmoid": RNNEquations("sigmoid"),
    "rnn_identity": RNNEquations("identity"),
    "gru": GRUEquations(),
    "lstm": LSTMEquations(),
    "projected_lstm": LSTMEquations(),
    "peephole_lstm": PeepholeLSTMEquations(),
    "minimal_gated_unit": MinimalGatedUnit(),
    "mgu": MGUEquations(),
    "indrnn": IndRNNEquations(),
    "indrnn_tanh": IndRNNEquations("tanh"),
    "min_gru": MinGRUEquations(),
    "min_lstm": MinLSTMEquations(),
    "layer_norm_lstm": LayerNormLSTMEquations(),
    "slstm": SLSTMEquations(),
    "slstm_heads": SLSTMEquations(heads=2),
    "lru": LRUEquations(),
    "conv_lstm": ConvLSTMEquations((1, 1)),  # of one pixel: images are in its own tests
    "selective": SelectiveEquations(),
    "zoneout_lstm": ZoneoutLSTMEquations(),
    "variational_lstm": VariationalLSTMEquations(),
}
"""Every form that changes the equations."""

WRITTEN = (
    "rnn",
    "rnn_relu",
    "rnn_sigmoid",
    "rnn_identity",
    "gru",
    "lstm",
    "projected_lstm",
    "peephole_lstm",
    "minimal_gated_unit",
    "mgu",
)
"""Those that engines write programs and kernels from: matrices, and elementwise in between."""

FEATURES, UNITS = 3, 4

CELLS = ("rnn", "gru", "lstm", "peephole_lstm", "projected_lstm")
"""One of each kind, for measures that ask for nothing but a trace."""


def random_weights(
    kind: str,
    features: int = FEATURES,
    units: int = UNITS,
    scale: float = 1.0,
    bias: bool = True,
    dtype: torch.dtype = torch.float64,
) -> Weights:
    """Return weights `[G*H, ·]` from a normal distribution, in float64 unless told otherwise."""
    equations, projected = EQUATIONS[kind], hidden_size(kind, units)
    shapes = equations.shapes(len(equations.blocks) * units, features, projected)

    def draw(*shape: int) -> Tensor:
        return scale * torch.randn(*shape, dtype=dtype)

    extra = {name: draw(*shape) for name, shape in equations.extra_shapes(features, units).items()}
    return Weights(
        draw(*shapes["weight_ih"]),
        draw(*shapes["weight_hh"]),
        draw(*shapes["bias_ih"]) if bias else None,
        draw(*shapes["bias_hh"]) if bias else None,
        draw(projected, units) if projected != units else None,
        extra,
    )


def hidden_size(kind: str, units: int = UNITS) -> int:
    """Return how many hidden states there are: half of the units where they are projected."""
    return (units + 1) // 2 if kind.startswith("projected") else units


def random_state(kind: str, *leading: int, units: int = UNITS) -> State:
    """Return a random state with any leading axes."""
    hidden, equations = torch.randn(*leading, hidden_size(kind, units), dtype=torch.float64), EQUATIONS[kind]
    if not equations.has_cell:
        return State(hidden)
    return State(hidden, torch.randn(*leading, equations.cell_size(units), dtype=torch.float64))


def random_inputs(kind: str, *leading: int, features: int = FEATURES, units: int = UNITS) -> Tensor:
    """Return random inputs `[*, features]`, with what the recurrence draws in training behind them."""
    return EQUATIONS[kind].given(torch.randn(*leading, features, dtype=torch.float64), units, training=True)


def mask_of(lengths: list[int]) -> Tensor:
    """Return `[T, B]` valid steps."""
    return torch.arange(max(lengths)).unsqueeze(1) < torch.tensor(lengths)


def random_trace(
    kind: str,
    lengths: list[int],
    features: int = 2,
    units: int = 3,
    reverse: bool = False,
    grads: Callable[[Tensor], Tensor] | None = torch.randn_like,
    weights: Weights | None = None,
    final_cell_grad: bool = False,
) -> Trace:
    """Return a layer of float64 numbers; `grads` makes the direct gradients from a tensor of the outputs' shape."""
    weights = weights or random_weights(kind, features, units, scale=0.5)
    steps, batch, mask = max(lengths), len(lengths), mask_of(lengths)
    initial = random_state(kind, batch, units=units)
    output_grads = None
    if grads is not None:
        direct = grads(torch.zeros(steps, *initial.hidden.shape, dtype=torch.float64)) * mask.unsqueeze(-1)
        final = State(None, torch.randn(batch, units, dtype=torch.float64) if final_cell_grad else None)  # type: ignore[arg-type]
        output_grads = OutputGrads(direct, final)
    inputs = random_inputs(kind, steps, batch, features=features, units=units)
    return Trace.of("l0", EQUATIONS[kind], weights, inputs, initial, mask, output_grads=output_grads, reverse=reverse)


def autograd_states(trace: Trace, sequence: int) -> tuple[list[Tensor], list[Tensor]]:
    """Unroll one sequence under autograd: a slow loop; states in the order of reading, each a leaf of what follows."""
    weights, equations = trace.weights, trace.equations
    length = int(trace.lengths[sequence])
    inputs = back_to_front(trace.inputs, trace.mask) if trace.reverse else trace.inputs
    hidden = trace.initial_hidden[sequence].clone().requires_grad_()
    cell = None if trace.initial_cell is None else trace.initial_cell[sequence].clone().requires_grad_()
    hiddens, cells = [hidden], [] if cell is None else [cell]
    for t in range(length):
        projected, recurrent = equations.projected(inputs[t, sequence], weights), equations.recurrent(hidden, weights)
        step = equations.step(projected, recurrent, State(hidden, cell), weights)
        hidden = step.emitted if weights.weight_hr is None else step.emitted @ weights.weight_hr.T
        cell = step.cell
        hiddens.append(hidden)
        if cell is not None:
            cells.append(cell)
    return hiddens, cells
