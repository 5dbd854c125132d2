"""Every recurrence with random weights, in every form that changes its equations."""

from __future__ import annotations

import torch
from torch import Tensor

from rnn_diag.cells import Equations, GRUEquations, LSTMEquations, PeepholeLSTMEquations, RNNEquations, State, Weights

EQUATIONS: dict[str, Equations] = {
    "rnn_tanh": RNNEquations("tanh"),
    "rnn_relu": RNNEquations("relu"),
    "rnn_sigmoid": RNNEquations("sigmoid"),
    "rnn_identity": RNNEquations("identity"),
    "gru": GRUEquations(),
    "lstm": LSTMEquations(),
    "lstm_projected": LSTMEquations(),
    "peephole_lstm": PeepholeLSTMEquations(),
}
FEATURES, UNITS, PROJECTED = 3, 4, 2


def random_weights(kind: str, bias: bool = True, **options: object) -> Weights:
    """Return random weights `[G*H, ·]` for a recurrence, in float64 unless told otherwise."""
    rows = len(EQUATIONS[kind].blocks) * UNITS
    projected = PROJECTED if kind.endswith("projected") else UNITS

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, **({"dtype": torch.float64} | options))  # type: ignore[arg-type]

    peepholes = {name: draw(UNITS) for name in ("weight_ci", "weight_cf", "weight_co")}
    return Weights(
        draw(rows, FEATURES),
        draw(rows, projected),
        draw(rows) if bias else None,
        draw(rows) if bias else None,
        draw(PROJECTED, UNITS) if kind.endswith("projected") else None,
        peepholes if kind == "peephole_lstm" else {},
    )


def random_state(kind: str, *leading: int) -> State:
    """Return a random state with any leading axes."""
    hidden = torch.randn(*leading, PROJECTED if kind.endswith("projected") else UNITS, dtype=torch.float64)
    cell = torch.randn(*leading, UNITS, dtype=torch.float64) if EQUATIONS[kind].has_cell else None
    return State(hidden, cell)
